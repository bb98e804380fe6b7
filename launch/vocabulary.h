// Vocabularies that do not match: the commonest way to train wrongly in silence. Tokenizers are
// compared id by id; rows that a model has beyond its tokenizer (padding to a round number) are
// trimmed, and said so.
#pragma once

#include <string>

#include "data/corpus.h"
#include "data/data_config.h"
#include "model/transformer_config.h"

namespace temper {

/// With data.tokenizer auto: the tokenizer in the model's folder if it has one, else bytes.
void choose_tokenizer(DataConfig& data, const std::string& folder);

/// What tokenizer_files() shall copy beside a model: the data's tokenizer, or where it is not known
/// (token files) that of `folder`, if it has one.
std::string tokenizer_to_keep(const Corpus& corpus, const std::string& folder);

/// Throws c10::ValueError naming both numbers and the remedy where the data have ids that a model
/// of `rows` rows of vocabulary, from `folder`, has no rows for.
void check_ids(const Corpus& corpus, const std::string& section, const std::string& folder,
               int64_t rows);

/// Throws c10::ValueError with the first differing id where the tokenizer in `folder` (if there is
/// one) is not the data's (if it is known), and where the data are the built-in language, which has
/// none. `section`: the option, or what its name has before ".path".
void check_same_tokenizer(const Corpus& corpus, const std::string& section,
                          const std::string& folder);

/// Trims a model's rows of vocabulary to the data's and returns a line that says so; empty where
/// nothing is trimmed. `folder` is the model's, or empty. Throws c10::ValueError where the
/// tokenizers differ, where the model has fewer rows than the data have ids, or where far more rows
/// are left over than padding would.
std::string fit_vocabulary(const Corpus& corpus, const std::string& section,
                           const std::string& folder, TransformerConfig& shape);

}  // namespace temper
