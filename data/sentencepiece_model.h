// What a SentencePiece .model says of the text before pieces are looked for, read without the
// library, which keeps its own description of the model to itself and trusts the table of
// characters in it: a damaged one makes it read memory that is not its own.
#pragma once

#include <string>
#include <string_view>

namespace temper {

/// Fields of a model's normalizer_spec.
struct Normalizer {
  bool changes_characters = false;  ///< precompiled_charsmap: a table, or none
  bool adds_space = true;           ///< add_dummy_prefix: a space before the text
  bool removes_spaces = true;       ///< remove_extra_whitespaces
};

/// Reads a .model and checks its tables of characters, so that a search in them stays inside.
/// Throws c10::ValueError "NAME: REASON".
Normalizer read_normalizer(std::string_view model, const std::string& name);

/// What the end of a .model must be for it to add and remove spaces so, whatever it says before:
/// protobuf's later fields count.
std::string spaces_of_model(bool adds_space, bool removes_spaces);

}  // namespace temper
