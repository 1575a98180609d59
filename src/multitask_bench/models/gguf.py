"""A GGUF file as a plain float32 model folder, once."""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from multitask_bench.errors import ModelError
from multitask_bench.models.quiet import quiet
from multitask_bench.records import whole_folder


def convert(path: Path, target: Path) -> None:
    """Write ``path`` dequantised to ``target``; whole or not at all.

    Raises: ModelError: transformers cannot read the file's architecture.
    """
    # transformers builds this table anew for each of some 400 modules; cached it saves a third.
    gguf.get_tensor_name_map = functools.lru_cache(gguf.get_tensor_name_map)
    folder = str(path.parent)
    # Its bar goes to stderr whatever the library's verbosity is.
    with quiet(), contextlib.redirect_stderr(io.StringIO()), whole_folder(target) as part:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                gguf_file=path.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
        except (ValueError, KeyError, NotImplementedError) as err:
            raise ModelError(f"{path}: transformers cannot read this GGUF file ({err}).") from err
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
