"""Name maps: how other people's configurations and tensor names become ours, and back.

One file for each architecture that is read. To read another is to add its file, and its map here.
"""

from .bert import BERT
from .clip import CLIP
from .gpt2 import GPT2
from .llama import LLAMA
from .llama_gguf import LLAMA_GGUF
from .marian import MARIAN
from .name_map import NameMap
from .whisper import WHISPER

HUGGING_FACE: dict[str, NameMap] = {
    names.model_type: names for names in (GPT2, LLAMA, BERT, CLIP, MARIAN, WHISPER)
}
GGUF: dict[str, NameMap] = {names.model_type: names for names in (LLAMA_GGUF,)}
