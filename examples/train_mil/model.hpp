#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "../support/file_error.hpp"
#include "../support/output_files.hpp"
#include "data.hpp"
#include "poolings.hpp"

namespace train_mil {

/// instances -> one hidden layer -> pooling, to one vector or to slots -> logit of the bag.
struct ModelImpl : torch::nn::Module {
    std::string pooling_name;
    std::int64_t hidden;
    torch::nn::Linear embedding{nullptr};
    torch::nn::Dropout dropout{nullptr};
    Pooling pooling;
    torch::nn::Linear classifier{nullptr};

    ModelImpl(std::int64_t features, std::int64_t hidden_, std::string pooling_name_)
        : pooling_name(std::move(pooling_name_)), hidden(hidden_), pooling(make_pooling(pooling_name, hidden)) {
        embedding = register_module("embedding", torch::nn::Linear(features, hidden));
        dropout = register_module("dropout", torch::nn::Dropout(0.2));
        register_module("pooling", pooling.module.ptr());
        classifier = register_module("classifier", torch::nn::Linear(pooling.slots * hidden, 1));
    }

    /// (B) logits.
    torch::Tensor forward(const BagSet& bags) {
        const auto embedded = dropout->forward(torch::relu(embedding->forward(bags.x)));
        const auto pooled = pooling.module.forward<torch::Tensor>(embedded, bags.ptr, bags.q0);
        return classifier->forward(pooled).squeeze(1);
    }
};
TORCH_MODULE(Model);

/// A trained model with what it takes to use it.
struct Trained {
    Model model;
    Standardization standardization;
};

/// Writes a file that load() reads, whole or not at all. Throws FileError.
inline void save(const std::filesystem::path& path, const Trained& trained) {
    torch::serialize::OutputArchive archive;
    archive.write("pooling", torch::IValue(trained.model->pooling_name));
    archive.write("hidden", torch::IValue(trained.model->hidden));
    archive.write("mean", trained.standardization.mean);
    archive.write("deviation", trained.standardization.deviation);
    torch::serialize::OutputArchive parameters;
    trained.model->save(parameters);
    archive.write("model", parameters);
    support::OutputFiles outputs;
    archive.save_to(outputs.add(path).stream());
    outputs.commit();
}

/// Throws FileError for what save() did not write.
inline Trained load(const std::filesystem::path& path) {
    try {
        torch::serialize::InputArchive archive;
        archive.load_from(path.string());
        torch::IValue pooling;
        torch::IValue hidden;
        torch::Tensor mean;
        torch::Tensor deviation;
        torch::serialize::InputArchive parameters;
        archive.read("pooling", pooling);
        archive.read("hidden", hidden);
        archive.read("mean", mean);
        archive.read("deviation", deviation);
        archive.read("model", parameters);
        Model model(mean.numel(), hidden.toInt(), pooling.toStringRef());
        model->load(parameters);
        return {model, Standardization(mean, deviation)};
    } catch (const c10::Error&) {
        throw support::FileError(path, "input", "no model that can be read", "a file that --save wrote");
    }
}

}  // namespace train_mil
