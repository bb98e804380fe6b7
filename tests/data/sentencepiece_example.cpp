#include "tests/data/sentencepiece_example.h"

#include <c10/util/Exception.h>
#include <sentencepiece_trainer.h>

namespace temper {
namespace {

class Lines : public sentencepiece::SentenceIterator {
 public:
  bool done() const override { return number_ == 200; }
  void Next() override { line_ = line(++number_); }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  static std::string line(int number) {
    return "the " + std::to_string(number * number) + "th of them";
  }

  int number_ = 0;
  std::string line_ = line(0);
};

}  // namespace

std::string nfkc_model(const std::string& type) {
  Lines lines;
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train({{"model_type", type},
                                                  {"vocab_size", "40"},
                                                  {"normalization_rule_name", "nfkc"},
                                                  {"num_threads", "1"},
                                                  {"minloglevel", "2"}},
                                                 &lines, &model);
  TORCH_CHECK(status.ok(), status.ToString());
  return model;
}

}  // namespace temper
