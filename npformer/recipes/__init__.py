"""Complete runs: data, model, training, evaluation, pictures. One file a recipe.

``npformer train NAME`` runs one. Read `dates` or `text` for what is particular to a recipe,
`_recipe` for the parts that it consists of, and `_run` for the loop that drives them.
"""

from ._recipe import Recipe
from .captions import Captions
from .dates import Dates
from .finetune import Finetune
from .masked import Masked
from .speech import Speech
from .text import Text
from .translate import Translate

RECIPES: dict[str, type[Recipe]] = {
    recipe.name: recipe for recipe in (Dates, Text, Masked, Captions, Speech, Translate, Finetune)
}
"""Every recipe by its name; the ``npformer`` command offers what stands here."""

__all__ = [
    "RECIPES",
    "Recipe",
    "Dates",
    "Text",
    "Masked",
    "Captions",
    "Speech",
    "Translate",
    "Finetune",
]
