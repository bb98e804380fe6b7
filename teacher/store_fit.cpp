#include "teacher/store_fit.h"

#include <c10/util/Exception.h>

#include <vector>

#include "comm/value_coding.h"

namespace temper {
namespace {

struct Field {
  std::string name;
  std::string value;
  std::string option;  // gives it; empty: none does
  bool replay = true;  // a replay needs it too
};

std::vector<Field> fields_of(const StoreIndex& index) {
  const PayloadSpec& payload = index.payload;
  const auto text = [](const auto& value) { return c10::str(value); };
  const std::string entries =
      payload.kind == Payload::kSample ? "--teacher.draws" : "--teacher.topk";
  // Vocabulary before data: other data often have another one, and that says more.
  return {
      {"vocabulary", text(payload.vocab), "--data.tokenizer", true},
      {"tokenizer", index.tokenizer, "--data.tokenizer", true},
      {"data", index.data, "", true},
      {"payload", payload_name(payload.kind), "--teacher.payload", true},
      {"entries", text(payload.entries), entries, true},
      {"values", value_type_name(payload.dtype), "--teacher.values", true},
      {"temperature", text(index.temperature), "--teacher.temperature", true},
      {"seed", text(index.seed), "--run.seed", true},
      {"seq", text(index.seq), "--train.seq", true},
      {"width", text(payload.width), "--teacher.path", false},
      {"precision", index.precision, "--run.precision", false},
      {"teacher", index.teacher, "--teacher.path", false},
      {"steps", text(index.steps), "--train.steps", false},
      {"batch", text(index.batch), "--train.batch", false},
      {"micro_batch", text(index.micro_batch), "--train.micro-batch", false},
      {"parts", text(index.parts), "--record.parts", false},
      {"steps_per_shard", text(index.steps_per_shard), "--record.steps-per-shard", false},
      {"compression", text(index.compression), "--record.compression", false},
      {"head", index.head, "--teacher.path", false},
      {"temper", index.temper, "", false},
  };
}

std::string shown(const Field& field) { return field.value.empty() ? "unknown" : field.value; }

/// How to go on with a store that has this field.
std::string remedy_of(const Field& field, const std::string& option) {
  // No option says it there: each student records its own part.
  if (field.name == "parts" && option == "--teacher.tee")
    return "its parts are those of its students: start as many student ranks, " + field.value;
  return field.option.empty() ? "use what it was recorded with" : "give the same " + field.option;
}

}  // namespace

void check_replay_fits(const StoreIndex& store, const StoreIndex& run, const std::string& dir) {
  const std::vector<Field> theirs = fields_of(store), ours = fields_of(run);
  for (size_t i = 0; i < theirs.size(); ++i) {
    if (!theirs[i].replay || theirs[i].value == ours[i].value) continue;
    const std::string& name = theirs[i].name;
    // The ids in token files say nothing of their tokenizer: the data's fingerprint must do.
    if (name == "tokenizer" && (theirs[i].value.empty() || ours[i].value.empty())) continue;
    std::string remedy = "give " + theirs[i].option + " " + theirs[i].value;
    if (name == "data" || name == "tokenizer" || name == "vocabulary")
      remedy = "read the data that it was recorded from (" + store.data_words + ")";
    TORCH_CHECK_VALUE(false, "--teacher.store ", dir, " does not fit this run: ", name, " is ",
                      shown(theirs[i]), " in the store and ", shown(ours[i]), " here; ", remedy,
                      ", or record another store for this run with temper record");
  }
}

void check_same_store(const StoreIndex& store, const StoreIndex& wanted, const std::string& dir,
                      const std::string& option) {
  const std::vector<Field> theirs = fields_of(store), ours = fields_of(wanted);
  for (size_t i = 0; i < theirs.size(); ++i) {
    TORCH_CHECK_VALUE(theirs[i].value == ours[i].value, option, " ", dir,
                      " holds another store: ", theirs[i].name, " is ", shown(theirs[i]),
                      " there and ", shown(ours[i]), " here; ", remedy_of(theirs[i], option),
                      ", or name another folder");
  }
}

std::string mend_command(const StoreIndex& store, const std::string& dir) {
  return "temper record --config " + dir + "/" + kStoreConfigFile + " --record.store " + dir +
         (store.mend_options.empty() ? "" : " " + store.mend_options);
}

}  // namespace temper
