"""Baseline: the script everybody writes first. Import, load in fp32, generate, print.

`python -m benchmarks.naive_transformers CHECKPOINT MESSAGES` prints the first token of
the answer to `MESSAGES` (JSON, as chat templates take them) and ends.
"""

from __future__ import annotations

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(arguments: list[str]) -> int:
    """Load the checkpoint and answer with one token."""
    checkpoint, messages = arguments[0], json.loads(arguments[1])
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=1, do_sample=False)
    print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
