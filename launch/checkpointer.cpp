#include "launch/checkpointer.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>

#include "comm/agree.h"
#include "launch/checkpoint_state.h"
#include "launch/progress.h"
#include "model/hugging_face.h"

#ifndef TEMPER_VERSION
#error "launch/CMakeLists.txt defines TEMPER_VERSION"
#endif

namespace temper {

namespace {

using Sums = std::map<std::string, FileSum>;

/// Runs `work` in a thread that leaves the cores to the training.
template <typename Work>
std::future<Sums> in_background(Work work) {
  return std::async(std::launch::async, [work = std::move(work)]() -> Sums {
    // On Linux a thread has a priority of its own.
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 10);
    return work();
  });
}

std::string host() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string to_text(const Sums& sums) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, sum] : sums) json[name] = {sum.bytes, sum.checksum};
  return json.dump();
}

void add_text(const std::string& text, Sums& sums) {
  const nlohmann::json json = nlohmann::json::parse(text);
  for (const auto& [name, sum] : json.items()) sums[name] = {sum[0], sum[1]};
}

}  // namespace

Checkpointer::Checkpointer(CheckpointPlan plan, TrainingStep& step, const Transformer& model,
                           const Communicator& ranks, int64_t last_step)
    : plan_(std::move(plan)),
      step_(step),
      model_(model),
      ranks_(ranks.dup()),
      published_(last_step) {
  plan_.run.temper = TEMPER_VERSION;
  plan_.run.weights = places_of_weights(model);
  plan_.run.students = ranks_.size();
}

CheckpointPart Checkpointer::copy_part() {
  CheckpointPart part;
  memory_.reuse();
  FolderPart model =
      copy_folder_part(model_, ranks_.rank(), ranks_.size(), plan_.tokenizer, memory_);
  if (!model.weights_file.empty())
    part.tensors.emplace_back(model.weights_file, std::move(model.weights));
  part.texts = std::move(model.texts);
  part.tensors.emplace_back(state_file(ranks_.rank(), ranks_.size()),
                            to_tensors(step_.copy_state(memory_)));
  return part;
}

void Checkpointer::save(int64_t done, const nlohmann::ordered_json& totals,
                        std::optional<double> nll) {
  finish();
  step_.settle();
  manifest_ = plan_.run;
  manifest_.step = done;
  manifest_.totals = totals;
  manifest_.nll = nll;
  std::string folder;
  if (ranks_.rank() == 0) {
    try {
      folder = make_temporary_checkpoint(plan_.dir, done);
    } catch (const std::exception& error) {
      error_ = plain_message(error);
    }
  }
  folder = ranks_.broadcast(folder, 0);
  if (folder.empty()) fail();
  under_way_ = in_background([folder, part = copy_part(), faults = plan_.faults, step = done - 1] {
    if (faults != nullptr) faults->before_writing(step, folder);
    Sums sums = write_part(folder, part);
    if (faults != nullptr) faults->after_writing(step, folder + "/" + part.tensors.back().first);
    return sums;
  });
  phase_ = Phase::kWriting;
}

/// The result of this rank's thread, which is done or waited for.
void Checkpointer::take_own() {
  if (!under_way_.valid()) return;
  try {
    sums_ = under_way_.get();
  } catch (const std::exception& error) {
    error_ = plain_message(error);
  }
}

void Checkpointer::progress() {
  if (phase_ == Phase::kIdle) return;
  if (under_way_.valid() &&
      under_way_.wait_for(std::chrono::seconds(0)) == std::future_status::ready)
    take_own();
  // 0: done, 1: writing, 2: failed.
  const int64_t mine = !error_.empty() ? 2 : under_way_.valid() ? 1 : 0;
  const int64_t most = ranks_.all_reduce(mine, Reduce::kMax);
  if (most == 2) fail();
  if (most == 0) advance();
}

/// Every rank is through with the phase.
void Checkpointer::advance() {
  if (phase_ == Phase::kPublishing) {
    published_ = manifest_.step;
    phase_ = Phase::kIdle;
    return;
  }
  for (const std::string& text : ranks_.all_gather(to_text(sums_))) add_text(text, manifest_.files);
  phase_ = Phase::kPublishing;
  if (ranks_.rank() != 0) return;
  under_way_ = in_background([dir = plan_.dir, manifest = manifest_, keep = plan_.keep] {
    publish_checkpoint(dir, manifest, keep);
    return Sums{};
  });
}

void Checkpointer::finish() {
  while (phase_ != Phase::kIdle) {
    take_own();
    progress();
  }
}

void Checkpointer::save_and_wait(int64_t done, const nlohmann::ordered_json& totals,
                                 std::optional<double> nll) {
  finish();
  if (published_ == done) return;
  save(done, totals, nll);
  finish();
}

/// When all threads have ended, what they wrote goes, and all ranks throw the first rank's error.
void Checkpointer::fail() {
  take_own();
  const std::string mine =
      error_.empty() ? "" : format("rank %d on %s: ", ranks_.rank(), host().c_str()) + error_;
  const std::vector<std::string> all = ranks_.all_gather(mine);
  phase_ = Phase::kIdle;
  error_.clear();
  if (ranks_.rank() == 0) remove_temporary_checkpoint(plan_.dir, manifest_.step);
  ranks_.barrier();
  std::string first;
  for (const std::string& each : all) {
    if (first.empty()) first = each;
  }
  throw CheckpointError(first +
                        format("; the checkpoint of step %lld is not saved, ",
                               static_cast<long long>(manifest_.step)) +
                        (published_ > 0
                             ? "that of step " + std::to_string(published_) + " is intact: "
                             : std::string("there is none before it: ")) +
                        "when that is mended, go on with --run.resume auto");
}

std::string Checkpointer::newest() const {
  return published_ > 0 ? plan_.dir + "/" + checkpoint_name(published_) : "";
}

}  // namespace temper
