"""Hub models that users name: shape, licence and a pinned revision, so that a plan needs no network.

Parameter counts are computed from the shapes, which came from each model's config.json; the counts were
checked against published ones (tests/test_known.py). A revision stands here when at least two independent
public repositories name it for that model (November 2026); it need not be the newest. Licences are the hub's
own tags; `gated` means that the hub wants a login and an accepted licence before the download.
"""

from __future__ import annotations

from typing import NamedTuple

BYTES = 2
"""A parameter in the hub's files: all models below are stored in bfloat16 or float16."""


class Shape(NamedTuple):
    """The sizes of a decoder-only transformer with gated feed-forward layers, as config.json has them."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    tied: bool
    """Whether the output layer is the embedding."""
    head: int | None = None
    """Size of an attention head; hidden / heads when null."""
    norms: int = 2
    """Norm vectors a layer."""
    qkv_bias: bool = False
    qk_norm: bool = False

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * (self.head or self.hidden // self.heads)

    @property
    def kv(self) -> int:
        """Width of all key heads together; the values have as much."""
        return self.query // self.heads * self.kv_heads


def parameters(shape: Shape) -> int:
    """All parameters, the tied embedding once."""
    vectors = shape.norms * shape.hidden
    vectors += shape.query + 2 * shape.kv if shape.qkv_bias else 0
    vectors += 2 * shape.query // shape.heads if shape.qk_norm else 0
    outer = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    return outer + inner_parameters(shape) + shape.layers * vectors + shape.hidden


def inner_parameters(shape: Shape) -> int:
    """The matrices that every token meets: all but the embedding and the output layer."""
    attention = 2 * shape.hidden * (shape.query + shape.kv)
    return shape.layers * (attention + 3 * shape.hidden * shape.intermediate)


class KnownModel(NamedTuple):
    """What is known of a hub model without asking the hub."""

    id: str
    revision: str | None
    """A commit, 40 hex digits; null where none could be verified."""
    shape: Shape
    context: int
    """Tokens of prompt and answer together."""
    license: str
    """The hub's licence tag."""
    gated: bool = False
    """Needs a login and an accepted licence on the hub."""
    head_stored: bool = False
    """The files hold a tied output layer a second time."""

    @property
    def parameters(self) -> int:
        """All parameters, the tied embedding once."""
        return parameters(self.shape)

    @property
    def inner(self) -> int:
        """The weights that every token meets: without embedding, output layer, norms and biases."""
        return inner_parameters(self.shape)

    @property
    def download_bytes(self) -> int:
        """Bytes of the safetensors files that are fetched."""
        twice = self.shape.vocab * self.shape.hidden if self.head_stored else 0
        return BYTES * (self.parameters + twice)

    @property
    def page(self) -> str:
        """Where the licence is read and, for a gated model, accepted."""
        return f"https://huggingface.co/{self.id}"


def known(name: str) -> KnownModel | None:
    """The entry of ``org/name`` or ``org/name@revision``, upper and lower case alike; None when there is none."""
    return _BY_NAME.get(name.partition("@")[0].lower())


_LLAMA_8B = Shape(128256, 4096, 32, 32, 8, 14336, tied=False)
_MISTRAL_7B = Shape(32768, 4096, 32, 32, 8, 14336, tied=False)
_PHI_MINI = Shape(32064, 3072, 32, 32, 32, 8192, tied=False)
_GEMMA_2_2B = Shape(256000, 2304, 26, 8, 4, 9216, tied=True, head=256, norms=4)
_GEMMA_2_9B = Shape(256000, 3584, 42, 16, 8, 14336, tied=True, head=256, norms=4)


def _qwen2(vocab: int, hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int) -> Shape:
    return Shape(vocab, hidden, layers, heads, kv_heads, intermediate, tied=hidden < 3584, qkv_bias=True)


def _qwen3(hidden: int, layers: int, heads: int, intermediate: int, *, tied: bool = True) -> Shape:
    return Shape(151936, hidden, layers, heads, 8, intermediate, tied=tied, head=128, qk_norm=True)


MODELS: tuple[KnownModel, ...] = (
    # The paper's models.
    KnownModel(
        "meta-llama/Llama-2-7b-chat-hf",
        "f5db02db724555f92da89c216ac04704f23d4590",
        Shape(32000, 4096, 32, 32, 32, 11008, tied=False),
        4096,
        "llama2",
        gated=True,
    ),
    KnownModel(
        "meta-llama/Llama-3.1-8B-Instruct",
        "0e9e39f249a16976918f6564b8830bc894c89659",
        _LLAMA_8B,
        131072,
        "llama3.1",
        gated=True,
    ),
    KnownModel(
        "google/gemma-1.1-7b-it",
        "065a528791af6f57f013e8e42b7276992b45ef71",
        Shape(256000, 3072, 28, 16, 16, 24576, tied=True, head=256),
        8192,
        "gemma",
        gated=True,
    ),
    KnownModel("microsoft/Phi-3-mini-4k-instruct", "f39ac1d28e925b323eae81227eaba4464caced4e", _PHI_MINI, 4096, "mit"),
    # Other chat models.
    KnownModel(
        "meta-llama/Llama-3.2-1B-Instruct",
        "9213176726f574b556790deb65791e0c5aa438b6",
        Shape(128256, 2048, 16, 32, 8, 8192, tied=True),
        131072,
        "llama3.2",
        gated=True,
    ),
    KnownModel(
        "meta-llama/Llama-3.2-3B-Instruct",
        "0cb88a4f764b7a12671c53f0838cd831a0843b95",
        Shape(128256, 3072, 28, 24, 8, 8192, tied=True),
        131072,
        "llama3.2",
        gated=True,
    ),
    KnownModel(
        "Qwen/Qwen2.5-0.5B-Instruct",
        "7ae557604adf67be50417f59c2c2f167def9a775",
        _qwen2(151936, 896, 24, 14, 2, 4864),
        32768,
        "apache-2.0",
    ),
    KnownModel(
        "Qwen/Qwen2.5-1.5B-Instruct",
        "989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
        _qwen2(151936, 1536, 28, 12, 2, 8960),
        32768,
        "apache-2.0",
    ),
    KnownModel(
        "Qwen/Qwen2.5-3B-Instruct",
        "aa8e72537993ba99e69dfaafa59ed015b17504d1",
        _qwen2(151936, 2048, 36, 16, 2, 11008),
        32768,
        "qwen-research",
    ),
    KnownModel(
        "Qwen/Qwen2.5-7B-Instruct",
        "a09a35458c702b33eeacc393d103063234e8bc28",
        _qwen2(152064, 3584, 28, 28, 4, 18944),
        32768,
        "apache-2.0",
    ),
    KnownModel(
        "Qwen/Qwen3-0.6B",
        "c1899de289a04d12100db370d81485cdf75e47ca",
        _qwen3(1024, 28, 16, 3072),
        40960,
        "apache-2.0",
        head_stored=True,
    ),
    KnownModel(
        "Qwen/Qwen3-1.7B",
        "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e",
        _qwen3(2048, 28, 16, 6144),
        40960,
        "apache-2.0",
        head_stored=True,
    ),
    KnownModel(
        "Qwen/Qwen3-4B", "1cfa9a7208912126459214e8b04321603b3df60c", _qwen3(2560, 36, 32, 9728), 40960, "apache-2.0"
    ),
    KnownModel(
        "Qwen/Qwen3-8B",
        "b968826d9c46dd6066d109eabc6255188de91218",
        _qwen3(4096, 36, 32, 12288, tied=False),
        40960,
        "apache-2.0",
    ),
    KnownModel(
        "google/gemma-2-2b-it", "299a8560bedf22ed1c72a8a11e7dce4a7f9f51f8", _GEMMA_2_2B, 8192, "gemma", gated=True
    ),
    KnownModel(
        "google/gemma-2-9b-it", "11c9b309abf73637e4b6f9a3fa1e92e615547819", _GEMMA_2_9B, 8192, "gemma", gated=True
    ),
    KnownModel(
        "google/gemma-3-1b-it",
        "dcc83ea841ab6100d6b47a070329e1ba4cf78752",
        Shape(262144, 1152, 26, 4, 1, 6912, tied=True, head=256, norms=4, qk_norm=True),
        32768,
        "gemma",
        gated=True,
    ),
    # Gated in 2024 and 2025; the hub's interface said "no" in October 2026.
    KnownModel(
        "mistralai/Mistral-7B-Instruct-v0.3",
        "c170c708c41dac9275d15a8fff4eca08d52bab71",
        _MISTRAL_7B,
        32768,
        "apache-2.0",
    ),
    KnownModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "12fd25f77366fa6b3b4b768ec3050bf629380bac",
        Shape(49152, 576, 30, 9, 3, 1536, tied=True),
        8192,
        "apache-2.0",
    ),
    KnownModel(
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "a10cc1512eabd3dde888204e902eca88bddb4951",
        Shape(49152, 960, 32, 15, 5, 2560, tied=True),
        8192,
        "apache-2.0",
    ),
    KnownModel(
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "31b70e2e869a7173562077fd711b654946d38674",
        Shape(49152, 2048, 24, 32, 32, 8192, tied=True),
        8192,
        "apache-2.0",
    ),
    KnownModel("microsoft/Phi-3.5-mini-instruct", "2fe192450127e6a83f7441aef6e3ca586c338b77", _PHI_MINI, 131072, "mit"),
    # Guards and judges.
    KnownModel(
        "meta-llama/Llama-Guard-3-8B",
        "7327bd9f6efbbe6101dc6cc4736302b3cbb6e425",
        _LLAMA_8B,
        131072,
        "llama3.1",
        gated=True,
    ),
    # Its config was not seen: the shape is that of Mistral-7B-v0.3, of which it is a fine-tune.
    KnownModel(
        "allenai/wildguard",
        "cbba4823f3e8020e5a74a5e29bf85072def6f2ff",
        _MISTRAL_7B,
        32768,
        "apache-2.0",
        gated=True,
    ),
    KnownModel(
        "google/shieldgemma-2b", "d1dffc9c8c9237a90aab09c61383791e718ef9e8", _GEMMA_2_2B, 8192, "gemma", gated=True
    ),
    KnownModel(
        "google/shieldgemma-9b", "b8b636016df4540721a098c7aab91c97ec6ee508", _GEMMA_2_9B, 8192, "gemma", gated=True
    ),
    KnownModel(
        "ibm-granite/granite-guardian-3.1-2b",
        "81145486e85c6c82c01e759c0356d9d6da4d21a5",
        Shape(49155, 2048, 40, 32, 8, 8192, tied=True),
        131072,
        "apache-2.0",
    ),
    # No revision was found, and its config was not seen: the shape is that of granite-3.3-8b-instruct.
    KnownModel(
        "ibm-granite/granite-guardian-3.3-8b",
        None,
        Shape(49159, 4096, 40, 32, 8, 12800, tied=True),
        131072,
        "apache-2.0",
    ),
    KnownModel(
        "cais/HarmBench-Llama-2-13b-cls",
        "bda705349d1144fa618770bea64d99ce54e3835b",
        Shape(32000, 5120, 40, 40, 40, 13824, tied=False),
        4096,
        "mit",
    ),
)

_BY_NAME = {model.id.lower(): model for model in MODELS}
