// SentencePiece folders with added tokens, against ids and texts that transformers gave:
// tests/peers/make_added_pieces.py. And the files beside a .model that are refused.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/sentencepiece.h"
#include "data/text_corpus.h"
#include "data/tokenizer.h"
#include "data/tokenizer_files.h"

namespace temper::added_pieces_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kPieces = 360;  // of the .model, which is the same in all folders

std::string golden(const std::string& name) {
  return std::string(TEMPER_SOURCE_DIR) + "/tests/data/golden_pieces/" + name;
}

const json& golden_cases(const std::string& kind) {
  static const json kinds = json::parse(std::ifstream(golden("cases.json")));
  return kinds.at(kind);
}

/// A folder with the golden .model and these files.
class Folder {
 public:
  explicit Folder(const std::vector<TokenizerFile>& files, bool with_model = true) {
    fs::remove_all(path_);
    fs::create_directories(path_);
    if (with_model) fs::copy(golden("added/tokenizer.model"), path_);
    for (const TokenizerFile& file : files)
      std::ofstream(path_ + "/" + file.name, std::ios::binary) << file.content;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  static inline int count_ = 0;
  std::string path_ = testing::TempDir() + "temper-pieces-" + std::to_string(getpid()) + "-" +
                      std::to_string(++count_);
};

/// Why the folder is refused.
std::string refusal(const std::vector<TokenizerFile>& files) {
  const Folder folder(files);
  try {
    open_tokenizer(folder.path(), "data.tokenizer");
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    EXPECT_EQ(message.find("--data.tokenizer " + folder.path()), 0u) << message;
    return message;
  }
  return "accepted";
}

std::string decoder(const json& tokens) { return json{{"added_tokens_decoder", tokens}}.dump(); }

class AddedPiecesTest : public testing::TestWithParam<const char*> {};

TEST_P(AddedPiecesTest, IdsAndTextsAreThoseOfTransformers) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(golden(GetParam()), "t");
  const json& expected = golden_cases(GetParam());
  EXPECT_EQ(tokenizer->vocab(), expected.at("vocab").get<int64_t>());
  EXPECT_EQ(tokenizer->prefix(), std::vector<int32_t>{expected.at("bos").get<int32_t>()});
  EXPECT_EQ(tokenizer->end_of_document(), expected.at("eos").get<int32_t>());
  const json& cases = expected.at("cases");
  ASSERT_GE(cases.size(), 15u);
  for (const json& each : cases) {
    const std::string text = each.at("text");
    const std::vector<int32_t> ids = tokenizer->encode(text);
    EXPECT_EQ(ids, each.at("ids").get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer->decode(ids), each.at("decoded").get<std::string>()) << text;
    EXPECT_EQ(tokenizer->decode_all(ids), each.at("decoded_all").get<std::string>()) << text;
  }
}

TEST_P(AddedPiecesTest, WhereATextMayBeCutTheIdsStayTheSame) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(golden(GetParam()), "t");
  std::string text;
  for (const json& each : golden_cases(GetParam()).at("cases"))
    text += each.at("text").get<std::string>() + (text.size() % 2 == 0 ? "\n" : "\n\n");
  const std::vector<int32_t> whole = tokenizer->encode(text);
  size_t cuts = 0;
  for (size_t at = 0; (at = tokenizer->next_cut(text, at + 1)) < text.size(); ++cuts) {
    std::vector<int32_t> ids = tokenizer->encode(std::string_view(text).substr(0, at));
    const std::vector<int32_t> rest = tokenizer->encode_rest(std::string_view(text).substr(at));
    ids.insert(ids.end(), rest.begin(), rest.end());
    EXPECT_EQ(ids, whole) << "cut at " << at << ", before " << text.substr(at, 20);
  }
  EXPECT_GE(cuts, 10u);
}

// What a student's folder gets opens as the teacher's does.
TEST_P(AddedPiecesTest, TheFilesGoAlong) {
  const std::unique_ptr<Tokenizer> teacher = open_tokenizer(golden(GetParam()), "t");
  for (const std::string& name : {golden(GetParam()), teacher->file()}) {
    const Folder folder(tokenizer_files(name), /*with_model=*/false);
    const std::unique_ptr<Tokenizer> student = open_tokenizer(folder.path(), "t");
    EXPECT_EQ(fingerprint(*student), fingerprint(*teacher));
    for (const json& each : golden_cases(GetParam()).at("cases"))
      EXPECT_EQ(student->encode(each.at("text").get<std::string>()),
                each.at("ids").get<std::vector<int32_t>>());
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AddedPiecesTest,
                         testing::Values("added", "decoder", "named", "llama", "bare", "spaced",
                                         "unspaced"));

TEST(AddedPiecesTest, ALongTextIsEncodedInPortions) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(golden("decoder"), "t");
  std::string text;
  while (text.size() < size_t{1100} << 10) {
    text += "<|im_start|>user\n";
    for (int line = 0; line < 400; ++line) text += "hello, world! the system answers\n";
    text += "<|im_end|>\n";
  }
  EXPECT_LT(tokenizer->next_cut(text, 1 << 20), (1 << 20) + 100);
  EXPECT_EQ(encode_text(*tokenizer, text), tokenizer->encode(text));
}

TEST(AddedPiecesTest, ALoneModelIsSentencePieces) {
  const Folder folder({});
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(folder.path(), "t");
  EXPECT_EQ(tokenizer->vocab(), kPieces);
  // Spelt out, <s> is text; and a text that begins with a space gets another one.
  const std::vector<int32_t> spelt = tokenizer->encode("<s>");
  EXPECT_EQ(std::count(spelt.begin(), spelt.end(), 1), 0);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" hello")), " hello");
  EXPECT_EQ(tokenizer->prefix(), std::vector<int32_t>{1});
  EXPECT_EQ(tokenizer->end_of_document(), 2);
}

// transformers then reads the folder as temper reads the .model: the golden ids are of this file.
TEST(AddedPiecesTest, ALoneModelGetsAConfigThatSaysWhatItDoesWithSpaces) {
  for (const std::string kind : {"spaced", "unspaced"}) {
    const Folder lone({}, /*with_model=*/false);
    fs::copy(golden(kind + "/tokenizer.model"), lone.path());
    std::ifstream file(golden(kind + "/tokenizer_config.json"));
    const std::string expected(std::istreambuf_iterator<char>(file), {});
    for (const std::string& name : {lone.path(), lone.path() + "/tokenizer.model"}) {
      const std::vector<TokenizerFile> files = tokenizer_files(name);
      ASSERT_EQ(files.size(), 2u);
      EXPECT_EQ(files[1].name, "tokenizer_config.json");
      EXPECT_EQ(files[1].content, expected);
    }
    const std::unique_ptr<Tokenizer> before = open_tokenizer(lone.path(), "t");
    const std::unique_ptr<Tokenizer> after = open_tokenizer(golden(kind), "t");
    for (const std::string text : {"hello <s> world", " a space before", "</s>\n<unk>"}) {
      EXPECT_EQ(before->encode(text), after->encode(text)) << text;
      EXPECT_EQ(before->decode(before->encode(text)), text);
    }
  }
}

TEST(AddedPiecesTest, NoEndOfTextWhereTheFilesSaySo) {
  const Folder folder(std::vector<TokenizerFile>{
      {"tokenizer_config.json", R"({"eos_token": null, "bos_token": null})"}});
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(folder.path(), "t");
  EXPECT_EQ(tokenizer->end_of_document(), std::nullopt);
  EXPECT_TRUE(tokenizer->prefix().empty());
}

TEST(AddedPiecesTest, TextThatIsNoUtf8IsReplaced) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(golden("decoder"), "t");
  EXPECT_EQ(tokenizer->decode_all(tokenizer->encode("a\xff<tool>\xe6\x9d")),
            "a\xef\xbf\xbd<tool> \xef\xbf\xbd");
}

TEST(AddedPiecesTest, BadFilesAreRefusedByName) {
  const auto added = [](const std::string& content) {
    return refusal({{"added_tokens.json", content}});
  };
  const auto config = [](const std::string& content) {
    return refusal({{"tokenizer_config.json", content}});
  };
  EXPECT_EQ(added(R"({"<a>": 360, "<b>": 361})"), "accepted");
  const std::vector<std::pair<std::string, std::string>> refused = {
      {added(R"({"<a>": 360, "<b>": 360})"), R"(360 stands for two tokens, "<a>" and "<b>")"},
      {added(R"({"<a>": 360, "<b>": 362})"),
       R"("<b>" has the id 362, but no token has the id 361)"},
      {added(R"({"<a>": 365})"), "no token has the id 360"},
      {added(R"({"<a>": 7})"), R"("<a>" has the id 7, which in)"},
      {added(R"({"</s>": 360})"), R"("</s>" has the id 360, but in)"},
      {added(R"({"<a>": -1})"), R"("<a>" has the id -1)"},
      {added(R"({"<a>": 4294967656})"), R"("<a>" has the id 4294967656)"},
      {added(R"({"<a>": 18446744073709551615})"), "too large"},
      {added(R"({"<a>": "360"})"), R"("<a>" is "360")"},
      {added(R"({"<a>": 360.5})"), R"("<a>" is 360.5)"},
      {added("[360]"), "added_tokens.json"},
      {added("{\"<\xff>\": 360}"), "added_tokens.json"},
      {added("{\"<a>\": 360"), "added_tokens.json"},
      {added("{\"<a>\": 360, \"b\": \"" + std::string(17 << 20, 'x') + "\"}"), "added_tokens.json"},
      {config(decoder(json::array({1}))), "added_tokens_decoder is [1]"},
      {config(decoder({{"x", {{"content", "<a>"}}}})), R"(the id "x")"},
      {config(decoder({{"360", "<a>"}})), R"(360 is "<a>")"},
      {config(decoder({{"360", {{"content", 5}}}})), "content is 5"},
      {config(decoder({{"360", {{"content", "<a>"}, {"lstrip", 1}}}})), "lstrip is 1"},
      {config(decoder({{"360", {{"content", "<a>"}}}, {"361", {{"content", "<a>"}}}})),
       R"("<a>" has two ids, 360 and 361)"},
      {config(decoder({{"360", {{"content", "<a>"}}}, {"0360", {{"content", "<b>"}}}})),
       "360 stands for two tokens"},
      {config(decoder({{"1", {{"content", "<a>"}}}})), R"(which in)"},
      {config(R"({"additional_special_tokens": "<a>"})"), R"(tokens is "<a>")"},
      {config(R"({"additional_special_tokens": [3]})"), "a special token is 3"},
      {config(R"({"a_token": "<a>", "b_token": "<b>"})"), R"("<a>" and "<b>" have no ids)"},
      {config(R"({"legacy": "yes"})"), R"(legacy is "yes")"},
      {config(R"({"add_prefix_space": 3})"), "add_prefix_space is 3"},
      {refusal({{"special_tokens_map.json", R"({"eos_token": {"lstrip": true}})"}}), "content"},
  };
  for (const auto& [message, part] : refused)
    EXPECT_NE(message.find(part), std::string::npos) << part << "\n  not in: " << message;
}

// Not through what is in `added_tokens_decoder`: a stale file beside it does not count.
TEST(AddedPiecesTest, AFileThatDoesNotCountIsNotRead) {
  EXPECT_EQ(refusal({{"tokenizer_config.json", decoder({{"360", {{"content", "<a>"}}}})},
                     {"added_tokens.json", "{\"<a>\": 7}"}}),
            "accepted");
}

}  // namespace
}  // namespace temper::added_pieces_test
