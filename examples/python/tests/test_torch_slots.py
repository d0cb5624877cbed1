"""The layers of otpool.torch that pool to slots, and the released layers, against formulas in PyTorch."""

import copy
import math
import pickle

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from test_torch_pooling import made_up_bags, padded  # noqa: E402

import otpool  # noqa: E402
from otpool import torch as layers  # noqa: E402


def by_formula(layer, x, ptr):
    """The slots of every bag, in standard operations of PyTorch."""
    return torch.stack([slots_of_bag(layer, x[i:j]) for i, j in zip(ptr[:-1].tolist(), ptr[1:].tolist())])


def slots_of_bag(layer, x):
    S = layer.rewards(x).T  # (K, N)
    K, N = S.shape
    log_p = torch.full((K,), -math.log(K)) if layer.p0 is None else torch.log_softmax(layer.p0, 0)
    log_q = torch.full((N,), -math.log(N)) if layer.prior is None else torch.log_softmax(layer.prior(x), 0)
    alpha0 = layer.alpha0.exp()
    alpha1 = layer.alpha1.exp().expand(K)
    if layer.dummy != "none":
        mass = (N - K) / N if layer.dummy == "dustbin" else 1 - layer.partial
        S = torch.cat([S, layer.dummy_reward.expand(1, N)])
        log_p = torch.cat([log_p + math.log(1 - mass), torch.tensor([math.log(mass)])])
        alpha1 = torch.cat([alpha1, torch.tensor([math.inf])])
    if math.isinf(layer.alpha2) or torch.isinf(alpha1).all():
        S = S - S.max()  # a hard side makes up for it; but a step from g = 0 is then another one
    damping1 = torch.where(
        torch.isinf(alpha1), 1.0, alpha1.nan_to_num(posinf=1.0) / (alpha1.nan_to_num(posinf=1.0) + alpha0)
    )
    damping2 = torch.ones(()) if math.isinf(layer.alpha2) else layer.alpha2 / (layer.alpha2 + alpha0)
    f, g = torch.zeros(len(S)), torch.zeros(N)

    def slots_half_step():
        half = damping1 * alpha0 * (log_p - torch.logsumexp((S + g) / alpha0, 1))
        return half + translation(log_p, half, alpha1, log_q, g, layer.alpha2)

    def instances_half_step():
        return damping2 * alpha0 * (log_q - torch.logsumexp((S + f[:, None]) / alpha0, 0))

    for _ in range(layer.steps):
        if layer.instances_first:
            g = instances_half_step()
            f = slots_half_step()
        else:
            f = slots_half_step()
            g = instances_half_step()
    P = torch.exp((S + f[:, None] + g) / alpha0)[:K]
    if layer.readout == "conditional":
        return P @ x / P.sum(1, keepdim=True)
    return layer.scale * (N if layer.times_instances else 1) * P @ x


def translation(log_p, f, alpha1, log_q, g, alpha2):
    """t with sum_k p_k exp(-(f_k + t) / alpha1_k) = sum_n q_n exp(-(g_n - t) / alpha2), where hard lines keep their mass.

    By bisection, and for the derivatives a step of Newton. 0 where all lines are hard, or the instances free.
    """
    is_hard = torch.isinf(alpha1)
    if alpha2 == 0 or (is_hard.all() and math.isinf(alpha2)):
        return torch.zeros(())
    finite = alpha1.nan_to_num(posinf=1.0)

    def excess(t, f, g, log_p, log_q, finite):
        of_slots = torch.where(is_hard, log_p, log_p - (f + t) / finite).exp().sum()
        return of_slots - (log_q - (0.0 if math.isinf(alpha2) else (g - t) / alpha2)).exp().sum()

    fixed = [tensor.detach() for tensor in (f, g, log_p, log_q, finite)]
    low, high = torch.tensor(-1e3), torch.tensor(1e3)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle, *fixed) > 0 else (low, middle)
    t = low.clone().requires_grad_()
    (slope,) = torch.autograd.grad(excess(t, *fixed), t)
    return low - excess(low, f, g, log_p, log_q, finite) / slope


inf = math.inf
LAYERS = {
    "hard": lambda D: layers.SlotPooling(D, 2, alpha1=inf),
    "free instances": lambda D: layers.SlotPooling(D, 2, alpha1=1.5, alpha2=0.0),
    "soft slots": lambda D: layers.SlotPooling(D, 3, reward="sqdist", learn_p0=True, prior=layers.Attention(D, 2)),
    "joint": lambda D: layers.SlotPooling(D, 2, readout="joint", scale=1.5, prior=layers.Attention(D, 2)),
    "soft": lambda D: layers.SlotPooling(D, 3, learn_p0=True, alpha2=0.8, readout="joint"),
    "soft slots and a hard dummy": lambda D: layers.SlotPooling(D, 2, dummy="partial", readout="joint"),
    "a network": lambda D: layers.SlotPooling(D, 2, torch.nn.Sequential(torch.nn.Linear(D, 2), torch.nn.Tanh())),
    "partial": lambda D: layers.SlotPooling(
        D, 2, alpha1=inf, readout="joint", dummy="partial", partial=0.3, alpha2=0.0
    ),
    "SALAD": lambda D: layers.SlotPooling(
        D,
        2,
        steps=3,
        alpha0=1.0,
        alpha1=inf,
        learn_alphas=False,
        readout="joint",
        times_instances=True,
        dummy="dustbin",
    ),
    "OTKE": lambda D: layers.SlotPooling(
        D, 2, steps=10, alpha0=0.1, alpha1=inf, learn_alphas=False, readout="joint", scale=2, instances_first=True
    ),
}


def start(name, features, seed=1):
    torch.manual_seed(seed)
    layer = LAYERS[name](features).double()
    with torch.no_grad():
        if layer.alpha1.requires_grad:
            layer.alpha1 += torch.linspace(-0.5, 0.5, len(layer.alpha1))
        for vector in (layer.p0, layer.dummy_reward, getattr(layer, "bias", None)):
            if vector is not None:
                vector.normal_()
    return layer


@pytest.fixture(autouse=True)
def in_double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(3, 9), min_size=1, max_size=4), features=st.integers(1, 5), seed=st.integers(0, 1000))
def test_values_and_derivatives_are_those_of_the_formula(name, sizes, features, seed):
    torch.set_default_dtype(torch.float64)
    layer = start(name, features, seed)
    x, ptr = made_up_bags(sizes, features, seed)
    x.requires_grad_()
    pooled, formula = layer(x, ptr), by_formula(layer, x, ptr)
    torch.testing.assert_close(pooled, formula, rtol=1e-10, atol=1e-11)
    weights = torch.randn(pooled.shape)
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad((pooled.tanh() * weights).sum(), inputs)
    expected = torch.autograd.grad((formula.tanh() * weights).sum(), inputs, allow_unused=True)
    for derivative, other in zip(found, expected):
        other = torch.zeros_like(derivative) if other is None else other
        torch.testing.assert_close(derivative, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_gradcheck(name):
    layer = start(name, 3)
    x, ptr = made_up_bags([4, 3, 5], 3, 2)
    x.requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def pooled(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values)), (x, ptr))

    assert torch.autograd.gradcheck(pooled, (x, *layer.parameters()), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("alpha2", [0.0, 0.8, inf])
@pytest.mark.parametrize("readout", ["conditional", "joint"])
def test_gradcheck_at_the_start(readout, alpha2):
    x, ptr = made_up_bags([4, 3, 5], 3, 2)
    layer = layers.SlotPooling(3, 3, alpha2=alpha2, readout=readout).double()

    def pooled(alpha1):
        return torch.func.functional_call(layer, {"alpha1": alpha1}, (x, ptr))

    assert torch.autograd.gradcheck(pooled, (layer.alpha1,), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_forms_masks_types_and_copies(name):
    layer = start(name, 3)
    x, ptr = made_up_bags([4, 3, 5], 3, 4)
    expected = layer(x, ptr)
    assert expected.shape == (3, layer.slots, 3)
    dense, mask = padded(x, ptr)
    with torch.no_grad():
        torch.testing.assert_close(layer(dense.masked_fill(~mask.unsqueeze(2), torch.nan), mask=mask), expected)
    assert torch.equal(layer(torch.nested.nested_tensor(list(x.split([4, 3, 5])))), expected)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x, ptr), expected)
    single = copy.deepcopy(layer).float()
    torch.testing.assert_close(single(x.float(), ptr).double(), expected, rtol=1e-3, atol=1e-4)
    layer.threads = 3
    assert torch.equal(layer(x, ptr), expected)


def test_errors_of_slots():
    x, ptr = made_up_bags([4, 2], 3, 4)
    with pytest.raises(otpool.InvalidArgument, match="slots is 0; allowed: at least 1"):
        layers.SlotPooling(3, 0)
    with pytest.raises(otpool.InvalidArgument, match="dummy is some; allowed: none, partial or dustbin"):
        layers.SlotPooling(3, 2, dummy="some")
    with pytest.raises(otpool.InvalidArgument, match="bag 1: number of instances is 2; allowed: more than 2"):
        layers.SlotPooling(3, 2, dummy="dustbin")(x, ptr)
    with pytest.raises(otpool.InvalidArgument, match="mass of the slots is 2; allowed: above 0, at most 1"):
        layers.SlotPooling(3, 2, dummy="partial", partial=2.0)(x, ptr)


# The released layers.


def released(layer, x):
    """The updates that the released layers take, from their own formulas: layer/published.md of the library. x: (N, D)."""
    N, D = x.shape
    lp = torch.full((1, D), -math.log(D))
    q0 = torch.full((N, 1), 1 / N)
    if layer.q0 == "learned":
        q0 = torch.softmax(layer.linear_r2(torch.tanh(layer.linear_r1(x))), 0)
    lq = (q0 + 1e-8).log()
    a1, a2, a3, rho = (
        torch.nn.functional.softplus(p).expand(layer.steps) for p in (layer.a1, layer.a2, layer.a3, layer.rho)
    )

    def lse(y, dim):
        return torch.logsumexp(y, dim, keepdim=True)

    if layer.method == "sinkhorn":
        a, b, y = torch.zeros(1, D), torch.zeros(N, 1), x / a1[0]
        for k in range(layer.steps):
            a, b = (
                a2[k] / (a2[k] + a1[k]) * (a / a1[k] + lp - lse(y, 0)),
                a3[k] / (a3[k] + a1[k]) * (b / a1[k] + lq - lse(y, 1)),
            )
            y = x / a1[k] + a + b
        return D * (y.exp() * x).sum(0)
    log_t = log_s = lq + lp
    log_mu, log_eta, z = lp, lq, torch.zeros(N, D)
    for k in range(layer.steps):
        if layer.method == "badmm-e":
            y = (x - z) / rho[k] + log_s
        else:
            y = (x - a1[k] * log_s.exp() - z) / rho[k] + log_s
        log_t = y + log_eta - lse(y, 1)
        y = (
            (z + rho[k] * log_t) / (a1[k] + rho[k])
            if layer.method == "badmm-e"
            else (z - a1[k] * log_t.exp()) / rho[k] + log_t
        )
        log_s = y + log_mu - lse(y, 0)
        z = z + rho[k] * (log_t.exp() - log_s.exp())
    return D * (log_t.exp() * x).sum(0)  # mu and eta stay at the priors: layer/published.md


@pytest.mark.parametrize("q0", ["fixed", "learned"])
@pytest.mark.parametrize("method", ["sinkhorn", "badmm-e", "badmm-q"])
def test_released_layers(method, q0):
    torch.manual_seed(1)
    x, ptr = made_up_bags([6, 4], 3, 4)
    layer = layers.PublishedPooling(3, 4, method, q0)
    weights = {name: torch.randn(value.shape) for name, value in layer.state_dict().items()}
    names = {"rho", "a1", "a2", "a3", "linear_r1.weight", "linear_r2.weight"}
    assert set(weights) == names
    layer.load_state_dict(weights)
    with torch.no_grad():
        expected = torch.stack([released(layer, x[:6]), released(layer, x[6:])])
        torch.testing.assert_close(layer(x, ptr), expected, rtol=1e-6, atol=1e-6)
        assert layer(x.float(), ptr).dtype == torch.float32
    with pytest.raises(otpool.UnsupportedProblem, match="PublishedPooling does not solve a problem with a gradient"):
        layer(x, ptr)
