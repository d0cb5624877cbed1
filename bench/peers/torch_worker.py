# Copyright (c) 2026 the otpool authors. MIT licence.
"""UOT-pooling layers in PyTorch: --method chooses the arithmetic, and whether it is eager or compiled."""

import numpy as np
import torch

import layers
from worker import Failed, parse_arguments, serve, write

SLOT_TASKS = ("salad", "otke", "salad_backward", "otke_backward", "assignment")
TASKS = ("sinkhorn_layer", "badmm_layer", "sinkhorn_layer_backward", "badmm_layer_backward", *SLOT_TASKS)
METHODS = ("published", "published compiled", "log-domain", "log-domain compiled")


def chosen_layer(arguments):
    published = arguments.method.startswith("published")
    layer = getattr(layers, ("published_" if published else "") + arguments.task.split("_")[0])
    if arguments.method.endswith("compiled"):
        return torch.compile(layer, dynamic=False)
    return layer


def raw_parameters(arguments):
    """The learned parameters: any numbers, made positive by softplus in the released layers and by exp in otpool's."""
    values = torch.tensor([arguments.alpha0, arguments.alpha1, arguments.alpha2, arguments.rho])
    if arguments.method.startswith("published"):
        return values.expm1().log().requires_grad_(), torch.nn.functional.softplus
    return values.log().requires_grad_(), torch.exp


def prepare_slots(arguments):
    batch = torch.from_numpy(np.load(arguments.input / "X.npy"))[None]
    prototypes = None
    if arguments.task != "assignment":
        prototypes = torch.from_numpy(np.load(arguments.input / "W.npy"))
    layer = chosen_layer(arguments)

    def forward():
        with torch.inference_mode():
            return layer(batch, prototypes, arguments.steps, arguments.alpha0)

    def forward_and_backward():
        y = layer(batch, prototypes, arguments.steps, arguments.alpha0)
        return y.detach(), *torch.autograd.grad(y, (batch, prototypes), cotangent)

    compute = forward
    if arguments.task.endswith("_backward"):
        cotangent = torch.from_numpy(np.load(arguments.input / "cotangent.npy")).reshape(1, arguments.slots, -1)
        batch.requires_grad_()
        prototypes.requires_grad_()
        compute = forward_and_backward
    answer = compiled_answer(compute)
    if compute is forward:
        write(arguments, pooled=answer[0].numpy())
    else:
        write(arguments, pooled=answer[0][0].numpy(), gradient=answer[1][0].numpy(), parameters=answer[2].numpy())
    return compute, arguments.steps


def compiled_answer(compute):
    try:
        compute()  # compiles
        return compute()
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise Failed(f"torch.compile: {type(error.inner_exception).__name__}") from error


def prepare(arguments):
    torch.set_num_threads(arguments.threads)
    if arguments.task in SLOT_TASKS:
        return prepare_slots(arguments)
    x = torch.from_numpy(np.load(arguments.input / "X.npy"))
    batch = x.reshape(arguments.bags, -1, x.shape[1])
    layer = chosen_layer(arguments)

    def forward():
        with torch.inference_mode():
            return layer(batch, arguments.steps, arguments.alpha0, arguments.alpha1, arguments.alpha2, arguments.rho)

    def forward_and_backward():
        y = layer(batch, arguments.steps, *positive(raw).unbind())
        return y.detach(), *torch.autograd.grad(y, (batch, raw), cotangent)

    compute = forward
    if arguments.task.endswith("_backward"):
        raw, positive = raw_parameters(arguments)
        cotangent = torch.from_numpy(np.load(arguments.input / "cotangent.npy"))
        batch.requires_grad_()
        compute = forward_and_backward
    answer = compiled_answer(compute)
    if compute is forward:
        write(arguments, pooled=answer.numpy())
    else:
        write(arguments, pooled=answer[0].numpy(), gradient=answer[1].reshape(x.shape).numpy(),
              parameters=answer[2].numpy())
    return compute, arguments.steps


if __name__ == "__main__":
    arguments = parse_arguments("PyTorch.", TASKS, METHODS)
    serve(lambda: prepare(arguments))
