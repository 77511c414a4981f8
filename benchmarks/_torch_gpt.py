"""The same GPT in PyTorch, written plainly: the other side of the benchmarks."""


def torch_gpt(model):
    """Return the GPT as a torch.nn.Module, with the values of an npformer model."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    config, values = model.config, model.state_dict()

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            width = config.d_model
            self.attention_norm = nn.LayerNorm(width, bias=False)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.feed_norm = nn.LayerNorm(width, bias=False)
            self.up = nn.Linear(width, 4 * width, bias=False)
            self.down = nn.Linear(4 * width, width, bias=False)

        def forward(self, x):
            batch, length, width = x.shape
            q, k, v = (
                part.view(batch, length, config.num_heads, -1).transpose(1, 2)
                for part in self.qkv(self.attention_norm(x)).split(width, dim=2)
            )
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(a.transpose(1, 2).reshape(batch, length, width))
            return x + self.down(F.gelu(self.up(self.feed_norm(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(config.vocab_size, config.d_model)
            self.positions = nn.Embedding(config.max_len, config.d_model)
            self.blocks = nn.ModuleList(Block() for _ in range(config.num_layers))
            self.norm = nn.LayerNorm(config.d_model, bias=False)

        def forward(self, ids):
            x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            return F.linear(self.norm(x), self.tokens.weight)

    gpt = GPT()
    own = {
        "tokens": "inputs.token",
        "positions": "inputs.position",
        "norm": "decoder.norm",
    }
    for i in range(config.num_layers):
        layer = f"decoder.layers.{i}."
        own |= {
            f"blocks.{i}.attention_norm": layer + "self_attention_norm",
            f"blocks.{i}.qkv": [layer + f"self_attention.{x}_proj" for x in "qkv"],
            f"blocks.{i}.out": layer + "self_attention.out_proj",
            f"blocks.{i}.feed_norm": layer + "feed_forward_norm",
            f"blocks.{i}.up": layer + "feed_forward.up",
            f"blocks.{i}.down": layer + "feed_forward.down",
        }
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            names = own[name.removesuffix(".weight")]
            names = [names] if isinstance(names, str) else names
            parts = [torch.from_numpy(values.pop(f"{one}.weight")) for one in names]
            parameter.copy_(torch.cat(parts))
    assert not values, f"not copied: {list(values)}"
    return gpt
