"""Attention blocks: recognising them, and opening those of torch so that heads can go.

``nn.MultiheadAttention`` ties the size of its heads to that of its input, so it cannot lose one. It is replaced by
``OpenAttention``, which computes the same from four linear layers.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeglm.nn.coupling import ChannelGroup, Member

if TYPE_CHECKING:
    from collections.abc import Iterator

# how the layers and attributes of attention blocks are called, in transformers, timm, and code written by hand
_PROJECTIONS = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q_proj", "k_proj", "v_proj"),
    ("query_proj", "key_proj", "value_proj"),
    ("q_linear", "k_linear", "v_linear"),
    ("to_q", "to_k", "to_v"),
    ("w_q", "w_k", "w_v"),
    ("wq", "wk", "wv"),
    ("W_q", "W_k", "W_v"),
    ("W_Q", "W_K", "W_V"),
    ("queries", "keys", "values"),
    ("q", "k", "v"),
)
_FUSED = ("qkv", "to_qkv", "qkv_proj", "in_proj", "Wqkv", "query_key_value", "c_attn")
_OUT = (
    *("out_proj", "out_lin", "o_proj", "output_proj", "out_linear", "to_out.0", "to_out", "proj", "c_proj", "w_o"),
    *("wo", "W_o", "W_O", "fc_out", "fc", "dense", "out", "output", "o"),
)
_OUT_BESIDE = ("output.dense", "dense", "out_proj", "output")  # of the module that the block lies in
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "nhead", "heads", "h")
_SIZES = ("attention_head_size", "head_dim", "head_size", "dim_head", "dim_per_head", "d_head", "d_k", "d_v")
_TOTALS = ("all_head_size", "inner_dim", "attn_dim", "embed_dim", "d_model", "dim", "hidden_size", "n_embd")
_SURE_TOTALS = 3  # the first ones say nothing about what the block reads


class Attention(NamedTuple):
    """One attention block: names of layers in the network, heads, and columns of one head."""

    name: str
    query: tuple[str, tuple[int, ...]]  # layer, and the channels of it that are queries
    key: tuple[str, tuple[int, ...]]
    value: tuple[str, tuple[int, ...]]
    out: str
    heads: int
    size: int


def find_attention(module: nn.Module) -> list[Attention]:
    """Return the blocks that hold linear layers for query, key and value under usual names, and a layer behind them.

    Names are a guess: whether heads can really go is tried on each block (``pruning_trial``).
    """
    return [block for name, layer in module.named_modules() if (block := _read(module, name, layer)) is not None]


def unpackable(module: nn.Module) -> list[str]:
    """Return the names of torch's own attention layers, as far as they can be opened."""
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.MultiheadAttention) and layer.bias_k is None and not layer.add_zero_attn
    ]


def unpack_attention(module: nn.Module, name: str) -> None:
    """Replace one ``nn.MultiheadAttention`` by layers that compute the same."""
    layer = module.get_submodule(name)
    if not isinstance(layer, nn.MultiheadAttention):
        raise ValueError(f"`{name}` is no nn.MultiheadAttention")
    setattr(module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], OpenAttention(layer))
    for owner in module.modules():
        if isinstance(owner, nn.TransformerEncoder):  # its shortcut reads the weights as torch packs them
            owner.use_nested_tensor = False


class OpenAttention(nn.Module):
    """What ``nn.MultiheadAttention`` computes, by four linear layers; called in the same way.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(self, packed: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.head_dim = packed.num_heads, packed.head_dim
        self.scale = packed.head_dim**-0.5  # stays when heads become narrower
        self.batch_first, self.dropout = packed.batch_first, packed.dropout
        self._qkv_same_embed_dim, self.in_proj_bias = False, None  # torch's encoder asks before its own shortcuts
        tensors: dict[str, Tensor] = dict(packed.named_parameters(recurse=False))
        weights = [tensors[name] for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight") if name in tensors]
        weights = weights or list(tensors["in_proj_weight"].chunk(3))
        biases = tensors["in_proj_bias"].chunk(3) if "in_proj_bias" in tensors else (None, None, None)
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
        self.out_proj = _linear(packed.out_proj.weight, packed.out_proj.bias)
        self.train(packed.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the answers, and the weights (B, L, S) or (B, heads, L, S) where they are asked for."""
        del is_causal  # a hint about attn_mask, which is there whenever this is true
        if not self.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        rows, length = query.shape[0], query.shape[1]
        q, k, v = (
            layer(tensor).view(rows, tensor.shape[1], self.num_heads, self.head_dim).transpose(1, 2)
            for layer, tensor in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )  # (B, heads, L, D), (B, heads, S, D) twice
        bias = _additive(attn_mask, q.dtype)
        if bias is not None and bias.ndim == 3:
            bias = bias.view(rows, -1, *bias.shape[1:])
        padding = _additive(key_padding_mask, q.dtype)
        if padding is not None:
            padding = padding[:, None, None]  # (B, 1, 1, S)
            bias = padding if bias is None else bias + padding
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.scale
            weights = (scores if bias is None else scores + bias).softmax(-1)
            attended = F.dropout(weights, dropout) @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            attended = F.scaled_dot_product_attention(q, k, v, bias, dropout, scale=self.scale)
        answer = self.out_proj(attended.transpose(1, 2).reshape(rows, length, self.num_heads * self.head_dim))
        return (answer if self.batch_first else answer.transpose(0, 1)), weights


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return layer


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return a mask as what is added to the scores; true means left out."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


def head_groups(module: nn.Module, block: Attention) -> Iterator[ChannelGroup]:
    """Yield the group of a block's heads, in every way in which its attributes may count them."""
    columns = range(block.heads * block.size)
    heads = tuple(column // block.size for column in columns)
    members = [Member(layer, "out", channels, heads) for layer, channels in (block.query, block.key, block.value)]
    members.append(Member(block.out, "in", tuple(columns), heads))
    for counts in _counts(module, block, _HEADS, block.heads):
        yield ChannelGroup(
            block.name, block.heads, 1, tuple(members), kind="heads", width=block.size, counts=counts
        )  # fmt: skip


def head_size_groups(module: nn.Module, block: Attention) -> Iterator[ChannelGroup]:
    """Yield the group of the columns of a block's heads; each head may lose others, queries and values too."""
    columns = tuple(range(block.heads * block.size))
    values = tuple(len(columns) + column for column in columns)
    members = (
        *(Member(layer, "out", channels, columns) for layer, channels in (block.query, block.key)),
        Member(block.value[0], "out", block.value[1], values),
        Member(block.out, "in", columns, values),
    )
    for scaled, counts in product(
        ((), (block.query[0],)), _counts(module, block, _SIZES, block.size)
    ):  # a fused layer cannot be scaled: its values would be, too
        if not (scaled and block.query[0] == block.value[0]):
            yield ChannelGroup(
                block.name,
                2 * len(columns),
                2 * block.heads,
                members,
                kind="head-dim",
                free=True,
                counts=counts,
                scaled=scaled,
            )


def _counts(
    module: nn.Module, block: Attention, names: tuple[str, ...], units: int
) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield which attributes to set: those of the units and of sure totals, then those of doubtful totals, too."""
    layer = module.get_submodule(block.name)
    own = tuple((block.name, name) for name in names if _integer(layer, name) == units)
    width = block.heads * block.size
    totals = [(block.name, name) for name in _TOTALS if _integer(layer, name) == width and name not in names]
    sure = tuple(total for total in totals if total[1] in _TOTALS[:_SURE_TOTALS])
    yield (*own, *sure)
    if len(totals) > len(sure):
        yield (*own, *totals)


def _integer(layer: nn.Module, name: str) -> int | None:
    value = getattr(layer, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read(module: nn.Module, name: str, layer: nn.Module) -> Attention | None:
    projections = _projections(layer)
    if projections is None:
        return None
    width = len(projections[0][1])
    heads = next((count for key in _HEADS if (count := _integer(layer, key)) and width % count == 0), None)
    size = next((count for key in _SIZES if (count := _integer(layer, key)) and width % count == 0), None)
    if heads is None and size is None:
        return None
    heads = heads or width // (size or 1)
    prefix, parent = f"{name}." if name else "", name.rpartition(".")[0]
    around = f"{parent}." if parent else ""
    places = [prefix + out for out in _OUT] + ([around + out for out in _OUT_BESIDE] if name else [])
    taken = {prefix + projection for projection, _ in projections}
    for out in places:
        found = _submodule(module, out)
        if isinstance(found, nn.Linear) and found.in_features == width and out not in taken:
            query, key, value = ((prefix + projection, channels) for projection, channels in projections)
            return Attention(name, query, key, value, out, heads, width // heads)
    return None


def _projections(layer: nn.Module) -> list[tuple[str, tuple[int, ...]]] | None:
    """Return name and channels of query, key and value, all of one width."""
    for names in _PROJECTIONS:
        found = [child for name in names if isinstance(child := getattr(layer, name, None), nn.Linear)]
        if len(found) == 3 and len({child.out_features for child in found}) == 1:
            return [(name, tuple(range(found[0].out_features))) for name in names]
    for name in _FUSED:
        child = getattr(layer, name, None)
        if isinstance(child, nn.Linear) and child.out_features % 3 == 0:
            width = child.out_features // 3
            return [(name, tuple(range(part * width, (part + 1) * width))) for part in range(3)]
    return None


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None
