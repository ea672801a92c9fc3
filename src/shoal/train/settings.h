// From the run file to the settings of each room.
#pragma once

#include <memory>

#include "shoal/base/identity.h"
#include "shoal/data/dataset.h"
#include "shoal/nn/model.h"
#include "shoal/optim/local_updates.h"
#include "shoal/optim/optimizer.h"
#include "shoal/optim/schedule.h"
#include "shoal/run/checkpoint.h"
#include "shoal/run/definition.h"
#include "shoal/train/model_source.h"

namespace shoal::train {

data::DatasetSettings dataset_settings(const run::RunDefinition& definition);
/// @param shape  of the data set, which knows what the run file need not repeat.
nn::ModelSettings model_settings(const run::RunDefinition& definition, const data::DataShape& shape);
optim::OptimizerSettings optimizer_settings(const run::RunDefinition& definition);
optim::ScheduleSettings schedule_settings(const run::RunDefinition& definition);
optim::LocalUpdateSettings local_update_settings(const run::RunDefinition& definition);

/// Opens the data set and makes the model. Blocks (disk, seconds of computation). Throws what make_dataset()
/// and make_model() throw.
std::unique_ptr<ModelSource> make_model_source(const run::RunDefinition& definition, const PeerId& peer);

/// Whether this peer keeps what its codec leaves out (collective/error_feedback_compute.h). Never in groups,
/// where parameters travel beside the gradient.
bool wants_error_feedback(const run::RunDefinition& definition);

/// Names and shapes as a checkpoint wants them.
std::vector<run::TensorLayout> tensor_layout(const optim::ParameterLayout& layout);

}  // namespace shoal::train
