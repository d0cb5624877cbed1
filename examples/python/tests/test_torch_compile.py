"""The layers of otpool.torch under torch.compile, in exports to ONNX, and in PyTorch Geometric."""

import math

import pytest

torch = pytest.importorskip("torch")


from test_torch_pooling import LAYERS as POOLINGS  # noqa: E402
from test_torch_pooling import OTHERS as OTHER_POOLINGS  # noqa: E402
from test_torch_pooling import made_up_bags, padded  # noqa: E402
from test_torch_slots import LAYERS as SLOTS  # noqa: E402

ALL = {**POOLINGS, **OTHER_POOLINGS, **{f"slots: {name}": layer for name, layer in SLOTS.items()}}


def start(name, features):
    torch.manual_seed(1)
    return ALL[name](features).double()


def arguments_of(layer, x, ptr, monkeypatch):
    """What the module gives its operator."""
    seen = []
    for module in ("pooling", "slots"):
        target = __import__(f"otpool.torch.{module}", fromlist=["x"])
        name = "pool" if module == "pooling" else "pool_slots"
        operator = getattr(target, name)

        def keep(*arguments, operator=operator):
            seen.append((operator, arguments))
            return operator(*arguments)

        monkeypatch.setattr(target, name, keep)
    layer(x, ptr)
    return seen[0]


@pytest.mark.parametrize(
    "name", ["mean", "max", "learned priors", "per step", "optimum", "slots: soft slots", "slots: SALAD"]
)
def test_opcheck(name, monkeypatch):
    opcheck = getattr(torch.library, "opcheck", None)
    if opcheck is None:
        pytest.skip("this PyTorch has no torch.library.opcheck")
    x, ptr = made_up_bags([4, 3, 5], 3, 2)
    x.requires_grad_()
    operator, arguments = arguments_of(start(name, 3), x, ptr, monkeypatch)
    leaves = tuple(
        a.detach().clone().requires_grad_(a.is_floating_point()) if isinstance(a, torch.Tensor) else a
        for a in arguments
    )
    result = opcheck(getattr(torch.ops.otpool, operator.name).default, leaves)
    assert set(result.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", ["attention", "learned priors", "slots: soft slots"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile_keeps_one_graph(name, backend):
    torch._dynamo.reset()
    D = 4
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, D), torch.nn.Tanh()).double()
    layer = start(name, D)

    def loss(x, ptr):
        return layer(network(x), ptr).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for sizes in ([4, 3, 5], [2, 6]):  # the second has other shapes
        x, ptr = made_up_bags(sizes if "slots" not in name else [n + 3 for n in sizes], 3, 2)
        results = []
        for function in (loss, compiled):
            leaf = x.clone().requires_grad_()
            value = function(leaf, ptr)
            derivatives = torch.autograd.grad(value, [leaf, *network.parameters(), *layer.parameters()])
            results.append([value, *derivatives])
        for found, expected in zip(*results):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_compile_takes_the_forms_of_a_batch():
    torch._dynamo.reset()
    x, ptr = made_up_bags([4, 3, 5], 3, 2)
    layer = start("learned priors", 3)
    expected = layer(x, ptr)
    batch = torch.arange(3).repeat_interleave(ptr.diff())
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, batch=batch, dim_size=3), expected)
    dense, mask = padded(x, ptr)
    torch.testing.assert_close(compiled(dense, mask=mask), expected)


ONNX = ["mean", "max", "attention", "gated", "sinkhorn", "per step", "hard", "softmax", "learned priors"]


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", ONNX)
def test_onnx(name, dynamo, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript")
    layer = start(name, 4).float().eval()
    x, ptr = made_up_bags([7, 3, 5], 4, 2, torch.float32)
    dense, mask = padded(x, ptr)
    path = str(tmp_path / "layer.onnx")
    named = dict(input_names=["x", "mask"], output_names=["pooled"])
    if dynamo:
        bags, size = torch.export.Dim("bags", min=1), torch.export.Dim("size", min=1)
        shapes = {"x": {0: bags, 1: size}, "mask": {0: bags, 1: size}}
        torch.onnx.export(layer, (dense,), path, kwargs={"mask": mask}, dynamic_shapes=shapes, dynamo=True, **named)
    else:
        axes = {"x": {0: "bags", 1: "size"}, "mask": {0: "bags", 1: "size"}}
        torch.onnx.export(
            layer, (dense,), path, kwargs={"mask": mask}, dynamic_axes=axes, opset_version=17, dynamo=False, **named
        )
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}  # standard operators alone
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for sizes in ([7, 3, 5], [2, 9, 1, 4]):
        x, ptr = made_up_bags(sizes, 4, 3, torch.float32)
        dense, mask = padded(x, ptr)
        (pooled,) = session.run(None, {"x": dense.numpy(), "mask": mask.numpy()})
        torch.testing.assert_close(torch.from_numpy(pooled), layer(x, ptr).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["max", "learned priors", "slots: soft slots"])
def test_aggregation_of_pytorch_geometric(name):
    pytest.importorskip("torch_geometric")
    from torch_geometric.nn import MLP, MLPAggregation  # noqa: F401
    from torch_geometric.nn.aggr import MultiAggregation

    from otpool.torch.geometric import PoolingAggregation

    x, ptr = made_up_bags([4, 3, 5], 3, 2)
    index = torch.arange(3).repeat_interleave(ptr.diff())
    aggregation = PoolingAggregation(start(name, 3))
    expected = aggregation.pooling(x, ptr).flatten(1)
    assert torch.equal(aggregation(x, index), expected)
    assert torch.equal(aggregation(x, ptr=ptr), expected)
    both = MultiAggregation(["mean", aggregation])(x, index)
    torch.testing.assert_close(both[:, 3:], expected)
    assert math.isclose(both[0, 0].item(), x[:4, 0].mean().item())
