"""The layers of otpool.torch that pool to one vector, against formulas in PyTorch and numerical derivatives."""

import copy
import io
import math
import pickle
import threading

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import otpool  # noqa: E402
from otpool import torch as layers  # noqa: E402


def made_up_bags(sizes, features, seed, dtype=torch.float64):
    """Rows and offsets of bags of these sizes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), features, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.tensor([0, *sizes]).cumsum(0)


def padded(x, ptr):
    """(B, N, D) and the mask of what counts."""
    bags = [x[first:end] for first, end in zip(ptr[:-1].tolist(), ptr[1:].tolist())]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(bag), dtype=torch.bool) for bag in bags], batch_first=True)
    return torch.nn.utils.rnn.pad_sequence(bags, batch_first=True), mask


def by_formula(layer, x, ptr):
    """The layer in standard operations of PyTorch."""
    bags, mask = padded(x, ptr)
    return layer.dense(bags, mask)


LAYERS = {
    "mean": lambda D: layers.MeanPooling(),
    "max": lambda D: layers.MaxPooling(),
    "attention": lambda D: layers.AttentionPooling(layers.Attention(D, 4)),
    "gated": lambda D: layers.AttentionPooling(layers.GatedAttention(D, 4)),
    "sinkhorn": lambda D: layers.UOTPooling(D),
    "one step": lambda D: layers.UOTPooling(D, steps=1, alpha2=2.0),
    "per step": lambda D: layers.UOTPooling(D, per_step=True, alpha1=1.0, alpha2=3.0),
    "hard": lambda D: layers.UOTPooling(D, steps=7, alpha1=math.inf, alpha2=math.inf),
    "softmax": lambda D: layers.UOTPooling(D, alpha2=0.0),
    "learned priors": lambda D: layers.UOTPooling(D, alpha2=1.0, learn_p0=True, prior=layers.Attention(D, 3)),
}
OTHERS = {
    "badmm-e": lambda D: layers.UOTPooling(D, solver="badmm-e", learn_p0=True, prior=layers.Attention(D, 3)),
    "badmm-e per step": lambda D: layers.UOTPooling(D, solver="badmm-e", per_step=True),
    "badmm-q": lambda D: layers.UOTPooling(D, solver="badmm-q"),
    "optimum": lambda D: layers.UOTPooling(D, solver="optimum", alpha2=1.0, learn_p0=True, tolerance=1e-11),
}


def start(make, features, seed=1):
    """A layer in float64 whose p0 is not uniform."""
    torch.manual_seed(seed)
    layer = make(features).double()
    if layer.p0 is not None:
        with torch.no_grad():
            layer.p0.normal_()
    return layer


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), features=st.integers(1, 6), seed=st.integers(0, 1000))
def test_values_and_derivatives_are_those_of_the_formula(name, sizes, features, seed):
    layer = start(LAYERS[name], features, seed)
    x, ptr = made_up_bags(sizes, features, seed)
    x.requires_grad_()
    pooled = layer(x, ptr)
    formula = by_formula(layer, x, ptr)
    torch.testing.assert_close(pooled, formula, rtol=0, atol=1e-12)
    weights = torch.randn(pooled.shape, dtype=torch.float64)
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad((pooled.tanh() * weights).sum(), inputs)
    expected = torch.autograd.grad((formula.tanh() * weights).sum(), inputs, allow_unused=True)
    for derivative, other in zip(found, expected):
        other = torch.zeros_like(derivative) if other is None else other
        torch.testing.assert_close(derivative, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
def test_gradcheck(name):
    layer = start({**LAYERS, **OTHERS}[name], 3)
    x, ptr = made_up_bags([4, 1, 5], 3, 2)
    x.requires_grad_()
    parameters = list(layer.parameters())

    def pooled(x, *values):
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(layer, dict(zip(names, values)), (x, ptr))

    assert torch.autograd.gradcheck(pooled, (x, *parameters), atol=1e-6, rtol=1e-4)


def test_the_optimum_is_where_many_steps_go():
    x, ptr = made_up_bags([8, 5], 4, 3)
    settings_of = dict(alpha0=0.3, alpha1=1.5, alpha2=0.7)
    optimum = layers.UOTPooling(4, solver="optimum", tolerance=1e-11, **settings_of).double()
    for solver, steps, tolerance in [("sinkhorn", 400, 1e-9), ("badmm-e", 400, 1e-9)]:
        steps_of = layers.UOTPooling(4, steps=steps, solver=solver, **settings_of).double()
        torch.testing.assert_close(steps_of(x, ptr), optimum(x, ptr), rtol=0, atol=tolerance)


def test_max_and_mean_are_problems_of_the_optimum():
    x, ptr = made_up_bags([8, 5], 4, 3)
    x[1] = x[0]  # ties
    x.requires_grad_()
    for named, alphas in [
        (layers.MaxPooling(), dict(alpha0=0.0, alpha2=0.0)),
        (layers.MeanPooling(), dict(alpha0=math.inf, alpha2=0.0)),
        (layers.MeanPooling(), dict(alpha0=math.inf, alpha2=math.inf)),
    ]:
        general = layers.UOTPooling(4, solver="optimum", **alphas).double()
        torch.testing.assert_close(named(x, ptr), general(x, ptr))
        found, expected = (torch.autograd.grad(layer(x, ptr).square().sum(), x)[0] for layer in (named, general))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["mean", "max", "attention", "sinkhorn", "learned priors"])
def test_forms_of_a_batch(name):
    layer = start(LAYERS[name], 3)
    x, ptr = made_up_bags([4, 2, 5], 3, 4)
    expected = layer(x, ptr)
    batch = torch.tensor([0] * 4 + [1] * 2 + [2] * 5)
    bags = list(x.split([4, 2, 5]))
    assert torch.equal(layer(x, batch=batch), expected)
    assert torch.equal(layer(x, batch=batch, dim_size=3), expected)
    assert torch.equal(layer(torch.nested.nested_tensor(bags)), expected)
    if hasattr(torch, "jagged"):
        assert torch.equal(layer(torch.nested.nested_tensor(bags, layout=torch.jagged)), expected)
    assert torch.equal(torch.cat([layer(bag) for bag in bags]), expected)
    dense, mask = padded(x, ptr)
    torch.testing.assert_close(layer(dense, mask=mask), expected)
    torch.testing.assert_close(layer(dense[:, :2]), layer(torch.cat([b[:2] for b in bags]), torch.tensor([0, 2, 4, 6])))


@pytest.mark.parametrize("name", ["mean", "max", "attention", "sinkhorn", "learned priors"])
def test_masked_instances_may_hold_anything(name):
    layer = start(LAYERS[name], 3)
    x, ptr = made_up_bags([4, 3], 3, 5)
    mask = torch.tensor([True, False, True, True, False, True, True])
    with torch.no_grad():
        x[~mask] = torch.nan
    x.requires_grad_()
    pooled = layer(x, ptr, mask=mask)
    torch.testing.assert_close(pooled, layer(x[mask], torch.tensor([0, 3, 5])))
    pooled.square().sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad[~mask] == 0).all() and (x.grad[mask] != 0).any()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_own_priors_are_weights_of_a_mean():
    x, ptr = made_up_bags([4, 3], 3, 5)
    weights = torch.tensor([1.0, 0.0, 2.0, 5.0, 1.0, 1.0, 2.0])
    pooled = layers.MeanPooling()(x, ptr, prior=weights)
    for b, (first, end) in enumerate([(0, 4), (4, 7)]):
        of_bag = weights[first:end].double() / weights[first:end].sum()
        torch.testing.assert_close(pooled[b], of_bag @ x[first:end])


@pytest.mark.parametrize("solver", ["sinkhorn", "badmm-e", "badmm-q", "optimum"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_other_types(dtype, tolerance, solver):
    x, ptr = made_up_bags([4, 3], 3, 5)
    layer = layers.UOTPooling(3, solver=solver, prior=layers.Attention(3, 4))
    low = x.to(dtype).requires_grad_()
    pooled = layer(low, ptr)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.double(), copy.deepcopy(layer).double()(x, ptr), rtol=0, atol=tolerance)
    pooled.sum().backward()
    assert low.grad.dtype == dtype


def test_state_dicts_copies_and_pickles():
    x, ptr = made_up_bags([4, 3], 3, 5, torch.float32)
    layer = layers.UOTPooling(3, per_step=True, learn_p0=True, alpha2=math.inf, prior=layers.GatedAttention(3, 4))
    names = {"alpha0", "alpha1", "alpha2", "p0", "prior.V", "prior.U", "prior.w"}
    assert set(layer.state_dict()) == names
    expected = layer(x, ptr)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = layers.UOTPooling(3, per_step=True, learn_p0=True, alpha2=math.inf, prior=layers.GatedAttention(3, 4))
    assert not torch.equal(other(x, ptr), expected)
    other.load_state_dict(torch.load(file, weights_only=True))
    for same in (other, copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x, ptr), expected)
    changed = copy.deepcopy(layer)
    with torch.no_grad():
        changed.alpha0 += 1
    assert torch.equal(layer(x, ptr), expected)


@pytest.mark.parametrize("name", ["mean", "max", "attention", "sinkhorn"])
def test_threads_give_the_same_bits(name):
    x, ptr = made_up_bags([30, 1, 400, 20], 5, 6)
    layer = start(LAYERS[name], 5)
    found = []
    for threads in (1, 2, 5):
        layer.threads = threads
        leaf = x.clone().requires_grad_()
        pooled = layer(leaf, ptr)
        pooled.square().sum().backward()
        found.append((pooled.detach(), leaf.grad))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))


def test_modules_run_in_threads_at_the_same_time():
    layer = start(LAYERS["learned priors"], 4)
    data = [made_up_bags([6, 9, 3], 4, seed) for seed in range(8)]
    expected = [layer(*bags) for bags in data]
    found = [None] * len(data)

    def run(i):
        for _ in range(20):
            found[i] = layer(*data[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(data))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_a_graph_is_kept_and_changes_in_place_are_seen():
    layer = start(LAYERS["sinkhorn"], 3)
    x, ptr = made_up_bags([4, 3], 3, 5)
    x.requires_grad_()
    pooled = layer(x, ptr)
    first = torch.autograd.grad(pooled.sum(), x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(pooled.sum(), x)[0], first)
    y = x * 1
    pooled = layer(y, ptr)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        pooled.sum().backward()


def test_second_derivatives_are_refused():
    x, ptr = made_up_bags([4, 3], 3, 5)
    x.requires_grad_()
    pooled = layers.UOTPooling(3).double()(x, ptr)
    (derivative,) = torch.autograd.grad(pooled.square().sum(), x, create_graph=True)
    with pytest.raises(otpool.UnsupportedProblem, match="second derivatives"):
        derivative.sum().backward()


def test_memory_is_given_back():
    import resource

    x, ptr = made_up_bags([500] * 8, 64, 5, torch.float32)
    layer = layers.UOTPooling(64)
    x.requires_grad_()

    def run(times):
        for _ in range(times):
            layer(x, ptr).sum().backward()
            layer(x, ptr)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = run(20)
    assert run(200) - before < 20_000  # kilobytes; a leak of one gradient a time would be 200 MB


def test_dense_refuses_what_it_has_no_formula_for():
    with pytest.raises(otpool.UnsupportedProblem, match='solver="badmm-e"; allowed: "sinkhorn"'):
        layers.UOTPooling(3, solver="badmm-e").dense(torch.randn(2, 4, 3))


X, PTR = made_up_bags([4, 3], 3, 5)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: layers.UOTPooling(3, steps=0), otpool.InvalidArgument, r"steps is 0; allowed: at least 1"),
        (lambda: layers.UOTPooling(3, solver="newton"), otpool.InvalidArgument, r"solver is newton; allowed: sinkhorn"),
        (lambda: layers.UOTPooling(3, alpha1=-1.0), otpool.InvalidArgument, r"alpha1 is -1.0; allowed: 0 to inf"),
        (lambda: layers.MeanPooling()(X, PTR + 1), otpool.InvalidArgument, r"offsets\[0\] is 1; allowed: 0"),
        (lambda: layers.MeanPooling()(X, PTR.int()), otpool.InvalidArgument, r"type of ptr is torch.int32"),
        (lambda: layers.MeanPooling()(X.long(), PTR), otpool.InvalidArgument, r"type of x is torch.int64"),
        (lambda: layers.MeanPooling()(X[0], PTR), otpool.InvalidArgument, r"shape of x is \(3,\)"),
        (lambda: layers.MeanPooling()(X, PTR, batch=PTR), otpool.InvalidArgument, r"given beside ptr"),
        (
            lambda: layers.MeanPooling()(X.to("meta"), PTR),
            otpool.InvalidArgument,
            r"device of x is meta; allowed: cpu.*x.cpu()",
        ),
        (lambda: layers.MeanPooling()(X, torch.tensor([0, 0, 7])), otpool.InvalidArgument, r"bag 0 is empty"),
        (lambda: layers.MeanPooling()(X, PTR, mask=PTR > 0), otpool.InvalidArgument, r"size of mask is 3; allowed: 7"),
        (
            lambda: layers.MeanPooling()(X, PTR, mask=torch.arange(7) > 3),
            otpool.InvalidArgument,
            r"bag 0 is without an instance that is not excluded",
        ),
        (
            lambda: layers.MeanPooling()(X, batch=torch.tensor([0, 0, 1, 1, 0, 2, 2])),
            otpool.InvalidArgument,
            r"batch\[4\] is 0; allowed: at least batch\[3\] = 1",
        ),
        (
            lambda: layers.MeanPooling()(X, batch=torch.arange(7), dim_size=3),
            otpool.InvalidArgument,
            r"batch\[6\] is 6; allowed: below dim_size, 3",
        ),
        (
            lambda: layers.UOTPooling(3).double()(X.masked_fill(X == X[5, 1], torch.nan), PTR),
            otpool.InvalidArgument,
            r"bag 1.*nan",
        ),
        (
            lambda: layers.UOTPooling(4, learn_p0=True).double()(X, PTR),
            otpool.InvalidArgument,
            r"length of p0 is 4; allowed: 3",
        ),
    ],
)
def test_errors_are_in_the_library_s_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
