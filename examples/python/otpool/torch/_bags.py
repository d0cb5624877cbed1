"""The forms that a batch of bags may have, as instances and offsets."""

import torch

from ._operators import _library, require

_library.define("offsets(Tensor batch, SymInt bags) -> Tensor")


def _offsets(batch, bags):
    """ptr of bags whose instances have these numbers, which must not decrease."""
    if batch.numel() > 0:
        falls = batch[1:] < batch[:-1]
        place = int(falls.nonzero()[0]) + 1 if bool(falls.any()) else 0
        require(
            place == 0,
            f"batch[{place}]",
            int(batch[place]),
            f"at least batch[{place - 1}] = {int(batch[place - 1])}: the instances of a bag are side by side; sort them "
            "by batch",
        )
        require(int(batch[0]) >= 0, "batch[0]", int(batch[0]), "at least 0")
        require(int(batch[-1]) < bags, f"batch[{batch.numel() - 1}]", int(batch[-1]), f"below dim_size, {bags}")
    return torch.searchsorted(batch.contiguous(), torch.arange(bags + 1, dtype=batch.dtype))


_library.impl("offsets", _offsets, "CPU")
_library.impl("offsets", lambda batch, bags: batch.new_empty((bags + 1,)), "Meta")


def side_by_side(x, ptr=None, batch=None, mask=None, prior=None, dim_size=None):
    """(rows, ptr, log_prior): instances (sum N, D), offsets (B + 1), and log q0 of every instance or None.

    Excluded instances, whose log_prior is -inf, are rows of zeros.

    x is (sum N, D) with ptr or batch, (N, D) alone for one bag, (B, N, D) with or without a mask, or a nested tensor of
    B matrices (N_b, D).
    """
    if x.is_nested:
        require(ptr is None and batch is None, "ptr or batch", "given", "neither, as a nested tensor has its own bags")
        if x.layout == getattr(torch, "jagged", None):
            rows, offsets = x.values(), x.offsets()
        else:
            bags = x.unbind()
            rows = torch.cat(bags)
            offsets = torch.tensor([0] + [len(bag) for bag in bags]).cumsum(0)
    elif x.dim() == 3:
        require(
            ptr is None and batch is None, "ptr or batch", "given", "neither, as x of shape (B, N, D) has its own bags"
        )
        count, size = x.shape[0], x.shape[1]
        rows = x.reshape(count * size, x.shape[2])
        offsets = torch.arange(count + 1, device=x.device) * size
    else:
        require(x.dim() == 2, "shape of x", tuple(x.shape), "(sum N, D), (B, N, D) or a nested tensor")
        require(ptr is None or batch is None, "batch", "given beside ptr", "one of the two")
        rows = x
        if ptr is not None:
            offsets = ptr
        elif batch is not None:
            require(batch.dtype == torch.int64, "type of batch", batch.dtype, torch.int64)
            require(batch.shape == x.shape[:1], "shape of batch", tuple(batch.shape), f"({x.shape[0]},)")
            if dim_size is None:
                dim_size = int(batch[-1]) + 1 if batch.numel() > 0 else 0
            offsets = torch.ops.otpool.offsets(batch, dim_size)
        else:
            offsets = torch.tensor([0, x.shape[0]], device=x.device)
    log_prior = _log_prior(rows, mask, prior)
    if log_prior is not None:  # what is excluded may hold anything
        rows = rows.masked_fill((log_prior == -torch.inf).unsqueeze(-1), 0)
    return rows, offsets, log_prior


def _log_prior(rows, mask, prior):
    log_prior = None
    if mask is not None:
        require(mask.dtype == torch.bool, "type of mask", mask.dtype, f"{torch.bool}, True for what counts")
        mask = _of_rows(mask, rows, "mask")
        log_prior = torch.zeros_like(mask, dtype=rows.dtype).masked_fill(~mask, -torch.inf)
    if prior is not None:
        of_prior = _of_rows(prior.detach(), rows, "prior").to(rows.dtype).log()
        log_prior = of_prior if log_prior is None else log_prior + of_prior
    return log_prior


def _of_rows(numbers, rows, name):
    flat = numbers.values() if numbers.is_nested else numbers.reshape(-1)
    require(flat.shape == rows.shape[:1], f"size of {name}", flat.shape[0], f"{rows.shape[0]}, a number an instance")
    return flat
