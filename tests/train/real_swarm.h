// A swarm of real peers in this process: each with its own thread, sockets, directory node, model and data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "shoal/base/identity.h"
#include "shoal/collective/training_peer.h"
#include "shoal/run/definition.h"
#include "shoal/train/model_source.h"

namespace shoal::train::testing_support {

/// A micro-batch that went into a step.
struct UsedSamples {
    PeerId peer;
    MicroBatchPlace place;
};

/// What one peer of the swarm did.
struct PeerTrace {
    PeerId peer;
    std::map<std::int64_t, std::vector<MicroBatchPlace>> used;  ///< by the step that they led to
    std::map<std::int64_t, double> swarm_loss;
    std::map<std::int64_t, std::string> digests;
    std::map<std::int64_t, std::size_t> members;  ///< of the round that led to a step
    std::vector<float> parameters;                ///< in the end
    std::vector<std::string> troubles;
};

struct SwarmPlan {
    run::RunDefinition definition;  ///< bootstrap, folder and name are filled in
    std::vector<double> loads;      ///< one a peer: its share of the time, for unequal speeds
    std::filesystem::path folder;
};

/// Trains to the end with one thread a peer and returns what each did. Throws what a peer threw.
std::vector<PeerTrace> train_swarm(const SwarmPlan& plan);

/// One process, one model: the same samples in the same steps, in fp32, without any averaging. Returns the
/// parameters in the end.
struct Replay {
    std::vector<float> parameters;
    std::map<std::int64_t, double> loss;
};
Replay replay(const run::RunDefinition& definition, const std::vector<PeerTrace>& traces);

/// A fresh folder for one test.
std::filesystem::path fresh_folder(const std::string& name);

/// A small ConvNet on Fashion-MNIST; a small ALBERT on the licences that every Debian system has.
run::RunDefinition convnet_run();
run::RunDefinition albert_run(const std::filesystem::path& folder);

}  // namespace shoal::train::testing_support
