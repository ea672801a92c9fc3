#!/usr/bin/python3
"""Makes TorchScript files of saddle problems that Shoal's methods solve: see src/shoal/nn/script_saddle.h for all that a file may have.

Needs Debian's python3-torch:  apt install python3-torch

    make_saddle.py auction auction.pt      two players, each with a function of its own
    make_saddle.py ridge ridge.pt          one function of z, and a sign for each coordinate

Then solve it:  shoal lab saddle auction.pt
"""

import argparse

import torch
from torch import Tensor, nn


class Auction(nn.Module):
    """Each device is a market. x are the efforts of one seller, y those of another; each pays for its own and earns by its share."""

    def __init__(self, devices: int = 8, goods: int = 20):
        super().__init__()
        self.devices = devices
        self.start_x = torch.zeros(goods, dtype=torch.float64)
        self.start_y = torch.zeros(goods, dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        self.prices = torch.rand(devices, goods, dtype=torch.float64, generator=generator) + 0.5
        self.rivalry = torch.rand(devices, goods, goods, dtype=torch.float64, generator=generator) / goods
        # The operator is linear: its Jacobian on a device is [[1, B], [-B^T, 1]], so it is strongly monotone with 1.
        norms = [torch.linalg.matrix_norm(self.rivalry[m], 2).item() for m in range(devices)]
        self.lipschitz = (1 + torch.linalg.matrix_norm(self.rivalry.mean(0), 2).item() ** 2) ** 0.5
        self.device_lipschitz = (sum(1 + n * n for n in norms) / devices) ** 0.5
        self.monotonicity = 1.0

    @torch.jit.export
    def first(self, x: Tensor, y: Tensor, device: int) -> Tensor:
        return 0.5 * (x * x).sum() - (self.prices[device] * x).sum() + x @ self.rivalry[device] @ y

    @torch.jit.export
    def second(self, x: Tensor, y: Tensor, device: int) -> Tensor:
        return 0.5 * (y * y).sum() - (self.prices[device] * y).sum() - x @ self.rivalry[device] @ y


class Ridge(nn.Module):
    """Least squares as a saddle: min over w, max over u of u (A w - b) - u^2 / 2 + rate w^2 / 2, rows of A by device."""

    def __init__(self, devices: int = 5, rows: int = 6, columns: int = 10, rate: float = 0.1):
        super().__init__()
        self.devices = devices
        generator = torch.Generator().manual_seed(2)
        self.a = torch.randn(devices, rows, columns, dtype=torch.float64, generator=generator)
        self.b = torch.randn(devices, rows, dtype=torch.float64, generator=generator)
        self.rows = rows
        self.columns = columns
        self.rate = rate
        # z = (w, u of device 0, u of device 1, ...): each device knows its own part of u.
        self.start = torch.zeros(columns + devices * rows, dtype=torch.float64)
        self.sign = torch.cat((torch.ones(columns), -torch.ones(devices * rows))).to(torch.float64)
        whole = self.a.reshape(-1, columns)
        w = torch.linalg.solve(whole.T @ whole + rate * torch.eye(columns, dtype=torch.float64), whole.T @ self.b.reshape(-1))
        self.solution = torch.cat((w, whole @ w - self.b.reshape(-1)))

    def forward(self, z: Tensor, device: int) -> Tensor:
        w = z[: self.columns]
        begin = self.columns + device * self.rows
        u = z[begin : begin + self.rows]
        residual = self.a[device] @ w - self.b[device]
        # Devices are averaged: so that the sum comes out, each counts its own part as often as there are devices.
        return self.devices * ((u * residual).sum() - 0.5 * (u * u).sum()) + 0.5 * self.rate * (w * w).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["auction", "ridge"])
    parser.add_argument("file", help="TorchScript file to write, ends in .pt")
    arguments = parser.parse_args()
    problem = Auction() if arguments.kind == "auction" else Ridge()
    torch.jit.script(problem).save(arguments.file)
    print(f"wrote {arguments.file}: {problem.devices} devices")


if __name__ == "__main__":
    main()
