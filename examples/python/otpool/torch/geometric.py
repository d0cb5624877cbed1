"""The poolings as aggregations of PyTorch Geometric."""

from torch_geometric.nn.aggr import Aggregation


class PoolingAggregation(Aggregation):
    """An Aggregation of PyTorch Geometric that is one of the poolings here, such as UOTPooling(D) or SlotPooling(D, K).

    `index` must not decrease, as in a batch of graphs. Slots are side by side: (B, K D). Groups without members are an
    error.
    """

    def __init__(self, pooling):
        super().__init__()
        self.pooling = pooling

    def forward(self, x, index=None, ptr=None, dim_size=None, dim=-2, max_num_elements=None):
        self.assert_two_dimensional_input(x, dim)
        if ptr is not None:
            index = None
        return self.pooling(x, ptr, batch=index, dim_size=dim_size).flatten(1)

    def reset_parameters(self):
        """Nothing: the parameters start as those of the pooling."""

    def __repr__(self):
        return f"{type(self).__name__}({self.pooling})"
