"""The operators under the modules: `torch.ops.otpool.pool` and `torch.ops.otpool.pool_slots`.

Each is an operator of torch.library with a kernel for the CPU, a fake kernel (Meta), and a backward operator, so
torch.compile keeps it whole. In eager mode the backward pass uses what the forward pass kept. In a compiled graph it
runs the forward pass again, as operators there hand over nothing but tensors.
"""

import torch

from .. import _otpool
from ..errors import InvalidArgument, UnsupportedProblem

_library = torch.library.Library("otpool", "DEF")


def require(holds, argument, found, allowed):
    """Raises InvalidArgument, in the library's words, unless `holds`."""
    if not holds:
        raise InvalidArgument(f"{argument} is {found}; allowed: {allowed}")


def _is_plain(tensor):
    """Whether the tensor has numbers of its own: it stands for no others, as those of a compiler's trace do."""
    return tensor is None or (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and not torch._is_functional_tensor(tensor)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def _from_array(array):
    return torch.from_dlpack(array)


def _require_tensor(name, tensor, dtype):
    require(
        tensor.device.type == "cpu",
        f"device of {name}",
        tensor.device,
        f"cpu: otpool computes on the CPU; pass {name}.cpu() and move the result with .to(device), or see dense()",
    )
    require(tensor.dtype == dtype, f"type of {name}", tensor.dtype, dtype)


class Operator:
    """An operator `otpool::name` of tensors and settings, with its derivative.

    tensors: their names, those of `optional` may be None; the derivative of each but ptr has its shape. `make_tape` is
    the extension's function of the same arguments, of which the last is the number of threads, here 0 for PyTorch's;
    `shape` gives the shape of the result.
    """

    def __init__(self, name, tensors, optional, settings, make_tape, shape):
        self.name, self.tensors, self.make_tape, self.shape = name, tensors, make_tape, shape
        arguments = ", ".join(f"Tensor{'?' if t in optional else ''} {t}" for t in tensors) + ", " + settings
        _library.define(f"{name}({arguments}) -> Tensor")
        _library.define(f"{name}_backward(Tensor dL_dpooled, {arguments}) -> Tensor[]")
        self.function = self._make_function()
        _library.impl(name, self._run, "CPU")
        _library.impl(name, self.function.apply, "Autograd")
        _library.impl(f"{name}_backward", self._run_backward, "CPU")
        _library.impl(f"{name}_backward", _refusal(f"{name}_backward").apply, "Autograd")
        _library.impl(name, self._fake, "Meta")
        _library.impl(f"{name}_backward", self._fake_backward, "Meta")

    def __call__(self, *arguments):
        x = arguments[0]
        require(x.dtype in (torch.float32, torch.float64), "type of x", x.dtype, "torch.float32 or torch.float64")
        ptr = arguments[1]
        require(ptr.dim() == 1 and ptr.shape[0] >= 1, "shape of ptr", tuple(ptr.shape), "(B + 1,)")
        for name, tensor in zip(self.tensors, arguments):
            if tensor is not None:
                _require_tensor(name, tensor, self._type_of(name, x))
        return getattr(torch.ops.otpool, self.name)(*arguments)

    @staticmethod
    def _type_of(name, x):
        return {"ptr": torch.int64, "alphas": torch.float64}.get(name, x.dtype)

    def _tape(self, arguments):
        count = len(self.tensors)
        plain = [t if t is None else t.detach().contiguous() for t in arguments[:count]]
        *settings, threads = arguments[count:]
        return self.make_tape(*plain, *settings, threads or torch.get_num_threads())

    def _run(self, *arguments):
        return _from_array(self._tape(arguments).pooled())

    def _run_backward(self, dL_dpooled, *arguments):
        return self._derivatives(self._tape(arguments), dL_dpooled, arguments)

    def _derivatives(self, tape, dL_dpooled, arguments):
        given = self._differentiable(arguments)
        found = tape.backward(dL_dpooled.detach().contiguous())
        return [
            arguments[0].new_empty(0) if tensor is None else _from_array(array).reshape(tensor.shape)
            for tensor, array in zip(given, found)
        ]

    def _differentiable(self, arguments):
        return [tensor for name, tensor in zip(self.tensors, arguments) if name != "ptr"]

    def _fake(self, *arguments):
        return arguments[0].new_empty(self.shape(*arguments))

    def _fake_backward(self, dL_dpooled, *arguments):
        x = arguments[0]
        return [x.new_empty(0) if t is None else t.new_empty(t.shape) for t in self._differentiable(arguments)]

    def _make_function(operator):
        forward_operator = getattr(torch.ops.otpool, operator.name)
        backward_operator = getattr(torch.ops.otpool, operator.name + "_backward")
        count = len(operator.tensors)

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(context, *arguments):
                context.save_for_backward(*arguments[:count])
                context.settings = arguments[count:]
                context.tape = None
                if all(map(_is_plain, arguments[:count])):
                    context.tape = operator._tape(arguments)
                    return _from_array(context.tape.pooled())
                with torch._C._AutoDispatchBelowAutograd():
                    return forward_operator(*arguments)

            @staticmethod
            def backward(context, dL_dpooled):
                arguments = (*context.saved_tensors, *context.settings)
                if context.tape is not None and not torch.is_grad_enabled():
                    derivatives = operator._derivatives(context.tape, dL_dpooled, arguments)
                else:  # with create_graph=True, so that a second derivative is refused
                    derivatives = backward_operator(dL_dpooled, *arguments)
                of_name = dict(zip((n for n in operator.tensors if n != "ptr"), derivatives))
                of_tensors = [
                    None if tensor is None else of_name.get(name) for name, tensor in zip(operator.tensors, arguments)
                ]
                return (*of_tensors, *(None for _ in context.settings))

        return Function


def _refusal(name):
    class Refusal(torch.autograd.Function):
        @staticmethod
        def forward(context, *arguments):
            with torch._C._AutoDispatchBelowAutograd():
                return tuple(getattr(torch.ops.otpool, name)(*arguments))

        @staticmethod
        def backward(context, *derivatives):
            raise UnsupportedProblem(
                "a layer does not solve a problem with second derivatives; allowed: create_graph=False, or a loss that does "
                "not depend on the gradient"
            )

    return Refusal


pool = Operator(
    "pool",
    tensors=["x", "ptr", "scores", "alphas", "p0"],
    optional=["scores", "alphas", "p0"],
    settings="str solver, int steps, float tolerance, int threads",
    make_tape=_otpool.layer_pool,
    shape=lambda x, ptr, *_: (ptr.shape[0] - 1, x.shape[1]),
)
pool_slots = Operator(
    "pool_slots",
    tensors=["x", "ptr", "rewards", "scores", "alpha0", "alpha1", "p0", "dummy_reward"],
    optional=["scores", "p0", "dummy_reward"],
    settings="int steps, float alpha2, bool instances_first, str readout, float scale, bool times_instances, str dummy, "
    "float partial, int threads",
    make_tape=_otpool.layer_pool_slots,
    shape=lambda x, ptr, rewards, *_: (ptr.shape[0] - 1, rewards.shape[1] * x.shape[1]),
)
