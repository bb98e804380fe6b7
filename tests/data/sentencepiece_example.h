// A SentencePiece model as strangers make them, for tests.
#pragma once

#include <string>

namespace temper {

/// A model of `type` ("unigram" or "bpe") that brings text into Unicode's form NFKC, by a table of
/// some 240 kB, and removes spaces: what temper's own models do not do.
std::string nfkc_model(const std::string& type);

}  // namespace temper
