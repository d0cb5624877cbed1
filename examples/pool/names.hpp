#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "settings.hpp"

// The words of the options and the report.

namespace pool {

template <class Value>
using Names = std::vector<std::pair<Value, std::string>>;

inline const Names<PoolingName> pooling_names = {{PoolingName::uot, "uot"},    {PoolingName::mean, "mean"},
                                                 {PoolingName::max, "max"},    {PoolingName::min, "min"},
                                                 {PoolingName::sum, "sum"},    {PoolingName::softmax, "softmax"},
                                                 {PoolingName::lse, "lse"},    {PoolingName::attention, "attention"},
                                                 {PoolingName::mixed, "mixed"}};
inline const Names<RegularizerName> regularizer_names = {{RegularizerName::entropy, "entropy"},
                                                         {RegularizerName::relative_entropy, "relative-entropy"},
                                                         {RegularizerName::quadratic, "quadratic"}};
inline const Names<SolverName> solver_names = {{SolverName::automatic, "automatic"},
                                               {SolverName::sinkhorn, "sinkhorn"},
                                               {SolverName::newton, "newton"},
                                               {SolverName::active_set, "active-set"},
                                               {SolverName::badmm, "badmm"}};
inline const Names<ReadoutName> readout_names = {{ReadoutName::conditional, "conditional"},
                                                 {ReadoutName::joint, "joint"},
                                                 {ReadoutName::residual, "residual"},
                                                 {ReadoutName::joint_residual, "joint-residual"}};
inline const Names<SystemName> system_names = {
    {SystemName::otke, "otke"},     {SystemName::salad, "salad"},     {SystemName::otsurv, "otsurv"},
    {SystemName::motcat, "motcat"}, {SystemName::netvlad, "netvlad"}, {SystemName::slot_attention, "slot-attention"},
    {SystemName::lot, "lot"}};
inline const Names<CostName> cost_names = {{CostName::sqdist, "sqdist"},
                                           {CostName::dot, "dot"},
                                           {CostName::reldist, "reldist"},
                                           {CostName::relsqdist, "relsqdist"}};
inline const Names<PrototypesName> prototypes_names = {{PrototypesName::kmeans, "kmeans"},
                                                       {PrototypesName::sample, "sample"}};
inline const Names<EmptyBags> empty_names = {{EmptyBags::error, "error"}, {EmptyBags::zeros, "zeros"}};
inline const Names<otpool::Dtype> dtype_names = {{otpool::Dtype::float32, "float"}, {otpool::Dtype::float64, "double"}};

template <class Value>
const std::string& name_of(const Names<Value>& names, Value value) {
    return std::find_if(names.begin(), names.end(), [&](const auto& pair) { return pair.first == value; })->second;
}

/// "a, b or c"
inline std::string listed(const std::vector<std::string>& words, const std::string& last = " or ") {
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        text += (i == 0 ? "" : i + 1 == words.size() ? last : ", ") + words[i];
    }
    return text;
}

}  // namespace pool
