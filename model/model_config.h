// The options that name or shape a model, for any section: [model], [teacher], [student].
#pragma once

#include <boost/program_options/options_description.hpp>
#include <string>

#include "model/transformer_config.h"

namespace temper {

struct ModelConfig {
  std::string section;  ///< model, teacher or student: the prefix of the options and of messages
  std::string path;     ///< a Hugging Face folder, or a config.json; empty: the shape below with
                        ///< random weights
  std::string family = "llama";  ///< auto: llama
  int64_t layers = 2;
  int64_t width = 128;
  int64_t heads = 4;
  int64_t kv_heads = 0;  ///< 0: as many as heads
  int64_t ffn_width =
      0;  ///< 0: 4·width for gpt2, 8/3·width rounded up to a multiple of 64 for the others
  int64_t positions = 1024;
  std::string tied_head = "true";  ///< auto, true or false; auto: true
  /// 0 and auto are allowed everywhere above and mean the default, so that another model can give
  /// what is left open (a student that is cut from its teacher).
  bool open_ended = false;

  explicit ModelConfig(std::string section_name) : section(std::move(section_name)) {}

  /// Declares `<section>.path` alone, of a model that is opened as it is.
  void add_path(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option, the value and the remedy where `path` names nothing
  /// that is there.
  void check_path() const;

  /// Declares `<section>.path`, `.family`, `.layers`, `.width`, `.heads`, `.kv-heads`,
  /// `.ffn-width`, `.positions`, `.tied-head`.
  void add_options(boost::program_options::options_description& options);

  /// The shape that these options give for a vocabulary, validated; from `path`'s config.json where
  /// there is one. Throws c10::ValueError naming option or file, value and remedy.
  TransformerConfig resolve(int64_t vocab) const;
};

}  // namespace temper
