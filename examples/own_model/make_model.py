#!/usr/bin/python3
"""Makes a TorchScript file that Shoal trains like a built-in model.

Needs Debian's python3-torch:  apt install python3-torch

    make_model.py images my_model.pt                       classifies 28x28 grey images (Fashion-MNIST)
    make_model.py tokens my_model.pt --tokens text.u16 --text book.txt
                                                           predicts the next byte of a text, and makes its token file

Then train it:  set `model = "my_model.pt"` at the top of the run file (examples/own_model.toml), with data kind "fashion-mnist" for images,
or kind "tokens", path "text.u16" and sequence_length 64 for tokens.

What Shoal asks of a model:
  * forward takes (tokens: int64 [n, length]) or (images: float [n, channels, height, width], classes: int64 [n])
    and returns the loss: one float, the MEAN over the batch, so that it does not matter how samples are cut into batches;
  * all parameters are fp32, and every peer has the same file: its values are where training starts;
  * nothing but the parameters changes in training: GroupNorm or LayerNorm instead of BatchNorm;
  * torch.jit.script can compile it.
After training, `torch.jit.load` this file and load the parameters of a Shoal checkpoint (safetensors) into it: the names are the same.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional


class ImageClassifier(nn.Module):
    """Two convolutions and a linear layer; the loss is the cross-entropy."""

    def __init__(self, channels: int = 1, classes: int = 10):
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 5, stride=2, padding=2)
        self.norm = nn.GroupNorm(4, 16)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, classes)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(images)))
        x = functional.relu(self.second(x)).mean([2, 3])
        return functional.cross_entropy(self.head(x), classes)


class NextToken(nn.Module):
    """A small causal transformer. Shoal hands it whole windows; shifting input against target is the model's own business."""

    def __init__(self, vocabulary: int = 256, size: int = 64, heads: int = 4, longest: int = 256):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, size)
        self.places = nn.Embedding(longest, size)
        self.heads = heads
        self.norm1 = nn.LayerNorm(size)
        self.joined = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.norm2 = nn.LayerNorm(size)
        self.expand = nn.Linear(size, 4 * size)
        self.contract = nn.Linear(4 * size, size)
        self.norm3 = nn.LayerNorm(size)
        self.head = nn.Linear(size, vocabulary, bias=False)
        self.head.weight = self.tokens.weight  # tied weights stay tied in Shoal
        # A buffer that never changes is fine.
        self.register_buffer("hidden", torch.triu(torch.ones(longest, longest, dtype=torch.bool), 1))

    def forward(self, tokens: Tensor) -> Tensor:
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        n, length = inputs.shape
        x = self.tokens(inputs) + self.places.weight[:length]
        parts = self.joined(self.norm1(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = parts[0] @ parts[1].transpose(-2, -1) / (parts[0].size(-1) ** 0.5)
        scores = scores.masked_fill(self.hidden[:length, :length], -1e4)
        x = x + self.out((scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(n, length, -1))
        x = x + self.contract(functional.gelu(self.expand(self.norm2(x))))
        scores = self.head(self.norm3(x))
        return functional.cross_entropy(scores.reshape(-1, scores.size(-1)), targets.reshape(-1))


def example_batch(kind: str):
    """A fixed batch that any language can rebuild, to compare losses."""
    if kind == "images":
        pixels = torch.arange(8 * 28 * 28, dtype=torch.int64) % 17
        return (pixels.float().view(8, 1, 28, 28) / 8 - 1, torch.arange(8) % 10)
    return ((torch.arange(8 * 64, dtype=torch.int64) * 7 % 101).view(8, 64),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["images", "tokens"])
    parser.add_argument("file", help="TorchScript file to write, ends in .pt")
    parser.add_argument("--seed", type=int, default=0, help="of the initial parameters")
    parser.add_argument("--text", help="text file to turn into tokens, one a byte")
    parser.add_argument("--tokens", help="token file to write: unsigned 16-bit little-endian numbers, ends in .u16")
    arguments = parser.parse_args()
    if (arguments.text is None) != (arguments.tokens is None):
        parser.error("--text and --tokens go together")

    torch.manual_seed(arguments.seed)
    model = ImageClassifier() if arguments.kind == "images" else NextToken()
    for parameter in model.parameters():
        if arguments.kind == "tokens" and parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
    torch.jit.script(model).save(arguments.file)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"wrote {arguments.file}: {count} parameters")
    print(f"loss of the example batch: {model(*example_batch(arguments.kind)).item():.7f}")

    if arguments.text is not None:
        with open(arguments.text, "rb") as source, open(arguments.tokens, "wb") as target:
            text = source.read()
            # Every second byte is the high byte of the number: zero.
            ids = bytearray(2 * len(text))
            ids[0::2] = text
            target.write(ids)
        print(f"wrote {arguments.tokens}: {len(text)} tokens")


if __name__ == "__main__":
    main()
