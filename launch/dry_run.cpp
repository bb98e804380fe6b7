#include "launch/dry_run.h"

#include <algorithm>
#include <cstdio>

#include "launch/memory_model.h"
#include "launch/progress.h"

namespace temper {

namespace {

/// `placement` null: all ranks do the same.
void print_ranks(const Machine& machine, const Placement* placement) {
  const int nodes = 1 + *std::max_element(machine.node_of_rank.begin(), machine.node_of_rank.end());
  std::printf("\nRanks: %zu on %d node%s, %d thread%s each, device %s\n",
              machine.node_of_rank.size(), nodes, nodes == 1 ? "" : "s", machine.threads,
              machine.threads == 1 ? "" : "s", machine.device.str().c_str());
  if (!machine.note.empty()) std::printf("  note: %s\n", machine.note.c_str());
  for (size_t rank = 0; rank < machine.node_of_rank.size(); ++rank) {
    const int r = static_cast<int>(rank);
    std::printf("  rank %d  node %d", r, machine.node_of_rank[rank]);
    if (placement != nullptr && placement->colocated()) std::printf("  teacher and student");
    if (placement != nullptr && !placement->colocated()) {
      std::printf("  %s %d", placement->is_teacher(r) ? "teacher" : "student",
                  placement->role_index(r));
    }
    std::printf("\n");
  }
}

void print_training(const TransformerConfig& model, const TrainConfig& train, int ranks) {
  const RowRange rows = share(train.batch, 0, ranks);
  const int64_t micro = train.micro_batch > 0
                            ? std::min(train.micro_batch, std::max<int64_t>(1, rows.size()))
                            : rows.size();
  const double tokens = static_cast<double>(train.batch * train.seq);
  std::printf("\nSteps\n");
  std::printf("  %lld sequences x %lld tokens = %.0f tokens per step, x %lld steps = %s tokens\n",
              static_cast<long long>(train.batch), static_cast<long long>(train.seq), tokens,
              static_cast<long long>(train.steps),
              count_text(tokens * static_cast<double>(train.steps)).c_str());
  std::printf("  a rank has %lld sequences per step, in %zu micro-batches of at most %lld\n",
              static_cast<long long>(rows.size()),
              micro_batches(rows, std::max<int64_t>(1, micro)).size(),
              static_cast<long long>(micro));
  std::printf("  forward and backward: %s FLOPs per step\n",
              count_text(3 * tokens * model.forward_flops_per_token(train.seq)).c_str());
}

}  // namespace

std::string describe_model(const TransformerConfig& config) {
  return format("%s, %lld layers x %lld, %lld heads, vocabulary %lld: %s weights",
                family_name(config.family), static_cast<long long>(config.layers),
                static_cast<long long>(config.width), static_cast<long long>(config.heads),
                static_cast<long long>(config.vocab),
                count_text(static_cast<double>(config.parameter_count())).c_str());
}

int64_t planned_vocab(const DataConfig& data, const ModelConfig& model) {
  return model.path.empty() ? data.planned_vocab() : 0;
}

void print_train_plan(const std::string& ini, const Machine& machine, int ranks,
                      const TransformerConfig& model, const TrainConfig& train,
                      at::ScalarType compute) {
  std::fputs(ini.c_str(), stdout);
  print_ranks(machine, nullptr);
  std::printf("\nModel: %s\n", describe_model(model).c_str());
  print_training(model, train, ranks);
  std::printf("\nMemory of a rank, without activations\n  weights, gradients, optimizer: %s\n",
              bytes_text(training_sizes(model, train, compute).of_rank(ranks)).c_str());
}

void print_distill_plan(const std::string& ini, const Machine& machine, const Placement& placement,
                        const TransformerConfig& teacher_shape,
                        const TransformerConfig& student_shape, const TeacherConfig& teacher,
                        const TrainConfig& train, const RunConfig& run, const std::string& store) {
  std::fputs(ini.c_str(), stdout);
  print_ranks(machine, &placement);
  const bool replays = !store.empty();
  std::printf("\nTeacher: %s\nStudent: %s\n",
              replays ? ("recorded in " + store).c_str() : describe_model(teacher_shape).c_str(),
              describe_model(student_shape).c_str());
  const int students = static_cast<int>(placement.students.size());
  print_training(student_shape, train, students);
  const double tokens = static_cast<double>(train.batch * train.seq);
  if (!replays) {
    std::printf("  teacher's forward pass: %s FLOPs per step\n",
                count_text(tokens * teacher_shape.forward_flops_per_token(train.seq)).c_str());
  }
  const RowRange rows = share(train.batch, students - 1, students);
  const int64_t micro =
      train.micro_batch > 0 ? std::min(train.micro_batch, rows.size()) : rows.size();
  const PayloadSpec payload = teacher.payload_spec(teacher_shape, run.compute());
  const auto wire = static_cast<double>(payload.bytes_per_token());
  const double message = static_cast<double>(micro * train.seq) * wire;
  std::printf("\nSoft targets (payload %s)\n", teacher.payload.c_str());
  if (replays) {
    std::printf("  replayed: nothing travels, %.0f rows of the store are read\n",
                static_cast<double>(train.steps * train.batch));
  } else if (placement.colocated()) {
    std::printf("  colocated: nothing travels\n");
  } else {
    std::printf("  %.0f bytes per token, %s per message, %s per step\n", wire,
                bytes_text(message).c_str(), bytes_text(tokens * wire).c_str());
  }
  DistillSizes sizes;
  sizes.teacher_weights = teacher_bytes(teacher_shape, teacher, run.compute());
  sizes.student = training_sizes(student_shape, train, run.compute());
  sizes.message = message;
  sizes.teacher_head = head_bytes(payload, run.compute());
  const double state = sizes.student.of_rank(students);
  const RankMemory memory = rank_memory(sizes, static_cast<int64_t>(placement.teachers.size()),
                                        students, teacher.lookahead);
  const std::string head = sizes.teacher_head > 0
                               ? " + the teacher's head " + bytes_text(sizes.teacher_head)
                               : std::string();
  std::printf("\nMemory of a rank, without activations\n");
  if (replays) {
    std::printf(
        "  student (weights, gradients, optimizer) %s + one micro-batch of soft targets%s\n",
        bytes_text(state).c_str(), head.c_str());
  } else if (placement.colocated()) {
    std::printf("  teacher %s + student (weights, gradients, optimizer) %s + soft targets %s%s\n",
                bytes_text(sizes.teacher_weights).c_str(), bytes_text(state).c_str(),
                bytes_text(message).c_str(), head.c_str());
  } else {
    std::printf("  teacher rank: weights %s + buffers %s\n",
                bytes_text(sizes.teacher_weights).c_str(),
                bytes_text(memory.teacher_buffers).c_str());
    std::printf("  student rank: weights, gradients, optimizer %s + buffers %s%s\n",
                bytes_text(state).c_str(), bytes_text(memory.student_buffers).c_str(),
                head.c_str());
  }
}

void print_record_plan(const std::string& ini, const Machine& machine,
                       const TransformerConfig& teacher_shape, const StoreIndex& store,
                       const TeacherConfig& teacher, at::ScalarType compute) {
  std::fputs(ini.c_str(), stdout);
  print_ranks(machine, nullptr);
  std::printf("\nTeacher: %s\n", describe_model(teacher_shape).c_str());
  const auto tokens = static_cast<double>(store.rows()) * static_cast<double>(store.seq);
  const auto bytes = static_cast<double>(store.payload.bytes_per_token());
  const auto shards = static_cast<double>(store.shard_count());
  std::printf("\nStore (payload %s)\n", payload_name(store.payload.kind));
  std::printf("  %lld steps x %lld sequences = %lld rows x %lld tokens = %s tokens\n",
              static_cast<long long>(store.steps), static_cast<long long>(store.batch),
              static_cast<long long>(store.rows()), static_cast<long long>(store.seq),
              count_text(tokens).c_str());
  std::printf("  %.0f bytes per token before compression: %s\n", bytes,
              bytes_text(tokens * bytes).c_str());
  std::printf("  %.0f shards of %s (%lld steps each, %lld part%s), over %zu ranks\n", shards,
              bytes_text(tokens * bytes / shards).c_str(),
              static_cast<long long>(store.steps_per_shard), static_cast<long long>(store.parts),
              store.parts == 1 ? "" : "s", machine.node_of_rank.size());
  std::printf("  teacher's forward pass: %s FLOPs\n",
              count_text(tokens * teacher_shape.forward_flops_per_token(store.seq)).c_str());
  const RowRange rows =
      share(store.batch, static_cast<int>(store.parts) - 1, static_cast<int>(store.parts));
  const int64_t micro =
      store.micro_batch > 0 ? std::min(store.micro_batch, rows.size()) : rows.size();
  std::printf("\nMemory of a rank, without activations\n  weights %s + soft targets %s\n",
              bytes_text(teacher_bytes(teacher_shape, teacher, compute)).c_str(),
              bytes_text(static_cast<double>(micro * store.row_bytes())).c_str());
}

void print_held_out_plan(const std::string& ini, const Machine& machine,
                         const TransformerConfig& model, int64_t seq,
                         const EvaluationConfig& evaluation) {
  std::fputs(ini.c_str(), stdout);
  print_ranks(machine, nullptr);
  std::printf("\nModel: %s\n", describe_model(model).c_str());
  std::printf(
      "  up to %lld tokens of each held-out part, rows of %lld; %s FLOPs per pass\n",
      static_cast<long long>(evaluation.max_tokens), static_cast<long long>(seq),
      count_text(static_cast<double>(evaluation.max_tokens) * model.forward_flops_per_token(seq))
          .c_str());
  std::printf("\nMemory of a rank, without activations\n  weights: %s\n",
              bytes_text(static_cast<double>(model.parameter_count()) * 4).c_str());
}

}  // namespace temper
