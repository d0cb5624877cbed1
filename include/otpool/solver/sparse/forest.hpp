// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A forest whose nodes are the rows and columns of a matrix, and whose edges are entries of it. Node i is row i, node
/// rows + k is column k.
template <std::same_as<Index> Node = Index>
class Forest {
public:
    struct Edge {
        Node row, col;
        bool operator==(const Edge&) const = default;
    };

    Forest() = default;
    Forest(Node rows, Node cols) : rows_(rows), size_(rows + cols) {}

    Node rows() const { return rows_; }
    Node size() const { return size_; }
    const std::vector<Edge>& edges() const { return edges_; }
    bool is_row(Node node) const { return node < rows_; }
    /// The entry that joins two nodes.
    Edge between(Node a, Node b) const { return is_row(a) ? Edge{a, b - rows_} : Edge{b, a - rows_}; }

    /// Call set_trees() after changes of edges.
    void add(Edge edge) { edges_.push_back(edge); }
    void remove(Edge edge) { edges_.erase(std::find(edges_.begin(), edges_.end(), edge)); }

    /// Finds the trees. Cost: O(rows + cols).
    void set_trees() {
        set_neighbours();
        tree_.assign(place(size_), -1);
        nodes_.clear();
        starts_.assign(1, 0);
        for (Node root = 0; root < size_; ++root) {
            if (tree_[place(root)] >= 0) continue;
            const Node tree = trees();
            const std::size_t first = nodes_.size();
            nodes_.push_back(root);
            tree_[place(root)] = tree;
            for (std::size_t i = first; i < nodes_.size(); ++i) {
                for_each_neighbour(nodes_[i], [&](Node other) {
                    if (tree_[place(other)] >= 0) return;
                    tree_[place(other)] = tree;
                    nodes_.push_back(other);
                });
            }
            starts_.push_back(static_cast<Node>(nodes_.size()));
            // rows first
            std::sort(nodes_.begin() + static_cast<std::ptrdiff_t>(first), nodes_.end());
        }
    }

    Node trees() const { return static_cast<Node>(starts_.size()) - 1; }
    Node tree_of(Node node) const { return tree_[place(node)]; }
    /// The nodes of a tree, rows first.
    const Node* begin(Node tree) const { return nodes_.data() + starts_[place(tree)]; }
    const Node* end(Node tree) const { return nodes_.data() + starts_[place(tree) + 1]; }

    /// visit(node, its parent) from the root to the leaves; the root's parent is -1. Each node comes after its parent.
    template <class Visit>
    void for_each_from_root(Node root, const Visit& visit) {
        walk(root);
        for (std::size_t i = 0; i < path_.size(); ++i) visit(path_[i], parent_[i]);
    }
    /// The same from the leaves to the root.
    template <class Visit>
    void for_each_to_root(Node root, const Visit& visit) {
        walk(root);
        for (std::size_t i = path_.size(); i-- > 0;) visit(path_[i], parent_[i]);
    }

private:
    static std::size_t place(Node node) { return static_cast<std::size_t>(node); }

    void set_neighbours() {
        first_.assign(place(size_) + 1, 0);
        for (const Edge& edge : edges_) {
            ++first_[place(edge.row) + 1];
            ++first_[place(rows_ + edge.col) + 1];
        }
        for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
        neighbour_.resize(2 * edges_.size());
        std::vector<Node> next(first_.begin(), first_.end() - 1);
        for (const Edge& edge : edges_) {
            neighbour_[place(next[place(edge.row)]++)] = rows_ + edge.col;
            neighbour_[place(next[place(rows_ + edge.col)]++)] = edge.row;
        }
    }

    template <class Visit>
    void for_each_neighbour(Node node, const Visit& visit) const {
        for (Node i = first_[place(node)]; i < first_[place(node) + 1]; ++i) visit(neighbour_[place(i)]);
    }

    void walk(Node root) {
        path_.assign(1, root);
        parent_.assign(1, -1);
        for (std::size_t i = 0; i < path_.size(); ++i) {
            const Node node = path_[i];
            for_each_neighbour(node, [&](Node other) {
                if (other == parent_[i]) return;
                path_.push_back(other);
                parent_.push_back(node);
            });
        }
    }

    Node rows_ = 0, size_ = 0;
    std::vector<Edge> edges_;
    std::vector<Node> first_, neighbour_;      ///< Of node v: neighbour_[first_[v]], ..., before first_[v + 1]
    std::vector<Node> tree_, nodes_, starts_;  ///< The nodes of tree t: nodes_[starts_[t]], ..., before starts_[t + 1]
    std::vector<Node> path_, parent_;          ///< Of the last walk.
};

}  // namespace otpool::detail
