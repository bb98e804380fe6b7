#include "launch/plan_report.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "launch/progress.h"

namespace temper {

namespace {

constexpr size_t kRowsOfPayload = 8;  // of the table; JSON has all

double tokens_per_second(double seconds) { return seconds > 0 ? 1 / seconds : 0; }

/// Rows of the table for one payload: at most kRowsOfPayload, the fastest, in order of teachers.
std::vector<const Prediction*> rows_of(const PlanResult& plan, Payload payload) {
  std::vector<const Prediction*> rows;
  for (const size_t index : plan.choices) {
    const Prediction& each = plan.predictions[index];
    if (each.payload == payload) rows.push_back(&each);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Prediction* a, const Prediction* b) {
    return a->tokens_per_s > b->tokens_per_s;
  });
  if (rows.size() > kRowsOfPayload) rows.resize(kRowsOfPayload);
  std::stable_sort(rows.begin(), rows.end(), [](const Prediction* a, const Prediction* b) {
    return a->teachers < b->teachers;
  });
  return rows;
}

std::string link_text(const PlanResult& plan, const Prediction& prediction) {
  if (prediction.node_bytes_per_s == 0) return "-";
  const std::string load = gbit_text(prediction.node_bytes_per_s);
  return plan.cluster.link_bytes_per_s > 0
             ? load + " of " + gbit_text(plan.cluster.link_bytes_per_s)
             : load;
}

std::string lock_step_text(const PlanResult& plan, const Prediction& prediction) {
  for (const Prediction& each : plan.predictions) {
    if (each.teachers > 0 && each.lookahead == 0 && each.payload == prediction.payload &&
        each.teachers == prediction.teachers)
      return count_text(each.tokens_per_s);
  }
  return "-";
}

std::string ranks_text(const Prediction& prediction) {
  if (prediction.teachers == 0)
    return format("%lld both", static_cast<long long>(prediction.students));
  return format("%lld : %lld", static_cast<long long>(prediction.teachers),
                static_cast<long long>(prediction.students));
}

nlohmann::ordered_json to_json(const Prediction& prediction) {
  nlohmann::ordered_json json;
  json["payload"] = payload_name(prediction.payload);
  json["teachers"] = prediction.teachers;
  json["students"] = prediction.students;
  json["lookahead"] = prediction.lookahead;
  json["tokens_per_s"] = prediction.tokens_per_s;
  json["bound_by"] = bound_name(prediction.bound);
  json["teachers_tokens_per_s"] = prediction.teachers_tokens_per_s;
  json["students_tokens_per_s"] = prediction.students_tokens_per_s;
  json["network_tokens_per_s"] = prediction.network_tokens_per_s;
  json["bytes_per_token"] = prediction.bytes_per_token;
  json["node_gbit_per_s"] = prediction.node_bytes_per_s * 8e-9;
  json["reduce_seconds"] = prediction.reduce_seconds;
  json["wait_teacher"] = prediction.wait_teacher;
  json["wait_student"] = prediction.wait_student;
  json["memory_teacher_bytes"] = prediction.memory.teacher;
  json["memory_student_bytes"] = prediction.memory.student;
  return json;
}

}  // namespace

void fill_predictions(PlanResult& plan, const PlanJob& job, const std::vector<int>& node_of_rank,
                      int64_t teachers, int64_t lookahead, bool spread) {
  const auto ranks = static_cast<int64_t>(node_of_rank.size());
  std::vector<int64_t> counts;
  if (teachers > 0) {
    counts = {teachers};
  } else {
    counts = splits(ranks, plan.rates);
    counts.insert(counts.begin(), 0);
  }
  plan.ranks = ranks;
  plan.nodes = 1 + *std::max_element(node_of_rank.begin(), node_of_rank.end());
  std::vector<Prediction> candidates;
  for (const int64_t count : counts) {
    if (job.batch < ranks - count) continue;  // a student without a sequence
    const std::vector<NodeRoles> nodes = node_roles(count, node_of_rank, spread);
    for (const PayloadRates& rates : plan.rates) {
      const int64_t best = recommended_lookahead(rates, plan.cluster, job, nodes);
      std::set<int64_t> lookaheads{0};
      if (count > 0) lookaheads.insert({lookahead, best});
      for (const int64_t each : lookaheads) {
        plan.predictions.push_back(predict(rates, plan.cluster, job, nodes, each));
        if (count > 0 && each != best) continue;
        candidates.push_back(plan.predictions.back());
        plan.choices.push_back(plan.predictions.size() - 1);
      }
    }
  }
  const int64_t chosen = recommend(candidates, plan.memory_bytes);
  plan.recommended =
      chosen < 0 ? -1 : static_cast<int64_t>(plan.choices[static_cast<size_t>(chosen)]);
}

std::vector<std::string> distill_options(const Prediction& prediction) {
  return {"--launch.teachers",   std::to_string(prediction.teachers),
          "--teacher.payload",   payload_name(prediction.payload),
          "--teacher.lookahead", std::to_string(std::max<int64_t>(prediction.lookahead, 1))};
}

std::string to_text(const PlanResult& plan) {
  std::string text = format("rates   %s\n\n", plan.source.c_str());
  text += format("%-9s %14s %14s %12s %12s\n", "payload", "teacher rank", "student rank",
                 "bytes/token", "copy");
  for (const PayloadRates& rates : plan.rates) {
    text += format("%-9s %8s tok/s %8s tok/s %12.0f %9.1f us\n", payload_name(rates.payload),
                   count_text(tokens_per_second(rates.teacher_seconds)).c_str(),
                   count_text(tokens_per_second(rates.student_seconds)).c_str(), rates.bytes,
                   1e6 * rates.copy_seconds);
  }
  text +=
      format("update %.2f ms a step; gradient %s, reduced at %.2f GB/s inside a node; link %s\n",
             1e3 * plan.cluster.update_seconds, bytes_text(plan.cluster.gradient_bytes).c_str(),
             1e-9 * plan.cluster.node_bytes_per_s,
             plan.cluster.link_bytes_per_s > 0
                 ? (gbit_text(plan.cluster.link_bytes_per_s) + " Gbit/s of data").c_str()
                 : "without limit");
  if (plan.cores) text += to_text(*plan.cores);
  text += format("\n%lld rank%s on %lld node%s\n\n", static_cast<long long>(plan.ranks),
                 plan.ranks == 1 ? "" : "s", static_cast<long long>(plan.nodes),
                 plan.nodes == 1 ? "" : "s");
  text +=
      format("%-8s %13s %9s %9s %10s %14s %13s %21s  %s\n", "payload", "teach : learn", "lookahead",
             "tokens/s", "lock-step", "Gbit/s a node", "waiting T / S", "memory T / S", "bound by");
  for (const PayloadRates& rates : plan.rates) {
    for (const Prediction* row : rows_of(plan, rates.payload)) {
      const bool chosen =
          plan.recommended >= 0 && row == &plan.predictions[static_cast<size_t>(plan.recommended)];
      const bool both = row->teachers == 0;
      text += format(
          "%-8s %13s %9s %9s %10s %14s %13s %21s  %s%s\n", payload_name(row->payload),
          ranks_text(*row).c_str(), both ? "-" : std::to_string(row->lookahead).c_str(),
          count_text(row->tokens_per_s).c_str(), lock_step_text(plan, *row).c_str(),
          link_text(plan, *row).c_str(),
          both
              ? "-"
              : format("%.0f%% / %.0f%%", 100 * row->wait_student, 100 * row->wait_teacher).c_str(),
          ((both ? "-" : bytes_text(row->memory.teacher)) + " / " + bytes_text(row->memory.student))
              .c_str(),
          bound_name(row->bound), chosen ? "  <-" : "");
    }
  }
  text +=
      "\nwaiting: share of their time that teachers (T) wait for students and students (S) for "
      "teachers; memory without activations\n";
  if (plan.predictions.empty()) {
    return text + "\nno split: --train.batch has fewer sequences than there are student ranks\n";
  }
  if (plan.recommended < 0) {
    return text + format(
                      "\nnothing fits into %s a rank: more memory, smaller models, or a "
                      "payload with fewer bytes\n",
                      bytes_text(plan.memory_bytes).c_str());
  }
  const Prediction& best = plan.predictions[static_cast<size_t>(plan.recommended)];
  const std::string roles =
      best.teachers == 0
          ? format("colocated, %lld ranks run both models", static_cast<long long>(best.students))
          : format("%lld teacher : %lld student ranks, lookahead %lld",
                   static_cast<long long>(best.teachers), static_cast<long long>(best.students),
                   static_cast<long long>(best.lookahead));
  text += format("\nrecommended: %s, payload %s: %s tokens/s\n  %s\n ", roles.c_str(),
                 payload_name(best.payload), count_text(best.tokens_per_s).c_str(),
                 reason(best, plan.cluster).c_str());
  for (const std::string& word : distill_options(best)) text += " " + word;
  return text + "\n";
}

nlohmann::ordered_json to_json(const PlanResult& plan) {
  nlohmann::ordered_json json;
  json["rates"]["source"] = plan.source;
  for (const PayloadRates& rates : plan.rates) {
    nlohmann::ordered_json& each = json["rates"][payload_name(rates.payload)];
    each["teacher_tokens_per_s"] = tokens_per_second(rates.teacher_seconds);
    each["student_tokens_per_s"] = tokens_per_second(rates.student_seconds);
    each["bytes_per_token"] = rates.bytes;
    each["copy_seconds_per_token"] = rates.copy_seconds;
  }
  json["cluster"]["ranks"] = plan.ranks;
  json["cluster"]["nodes"] = plan.nodes;
  json["cluster"]["update_seconds"] = plan.cluster.update_seconds;
  json["cluster"]["gradient_bytes"] = plan.cluster.gradient_bytes;
  json["cluster"]["node_bytes_per_s"] = plan.cluster.node_bytes_per_s;
  json["cluster"]["link_bytes_per_s"] = plan.cluster.link_bytes_per_s;
  json["cluster"]["link_measured_bytes_per_s"] = plan.link_measured_bytes_per_s;
  json["cluster"]["latency_s"] = plan.cluster.latency_s;
  if (plan.cores) json["cores"] = to_json(*plan.cores);
  json["predictions"] = nlohmann::ordered_json::array();
  for (const Prediction& each : plan.predictions) json["predictions"].push_back(to_json(each));
  json["recommended"] = nullptr;
  if (plan.recommended >= 0) {
    const Prediction& best = plan.predictions[static_cast<size_t>(plan.recommended)];
    json["recommended"] = to_json(best);
    json["recommended"]["reason"] = reason(best, plan.cluster);
    json["recommended"]["options"] = distill_options(best);
  }
  return json;
}

}  // namespace temper
