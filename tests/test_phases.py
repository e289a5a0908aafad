"""The fast transposed convolution is the plain one: values, gradients, weights, random numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vaeneer.model import reference
from vaeneer.model.reference import PhasedConvTranspose2d


@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(5, 3, True), (2, 7, False)])
def test_values_and_gradients_are_those_of_pytorch(inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(1)
    plain = nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, bias=bias).double()
    fast = PhasedConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, bias=bias).double()
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, inputs, 6, 9, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(2, outputs, 14, 20, dtype=torch.float64)
    answers = []
    for layer in (plain, fast):
        x.grad = None
        answer = layer(x)
        (answer * weigh).sum().backward()
        assert x.grad is not None
        answers.append([answer, x.grad, *(weight.grad for weight in layer.parameters())])
    for expected, found in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_reference_decoder_is_the_same_with_it() -> None:
    torch.manual_seed(2)
    plain = reference.Decoder()
    torch.manual_seed(2)
    fast = reference.Decoder(PhasedConvTranspose2d)
    assert repr(plain) == repr(fast)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, fast.state_dict()[name])
    z = torch.randn(2, 512)
    torch.testing.assert_close(fast(z), plain(z), atol=1e-5, rtol=1e-5)
