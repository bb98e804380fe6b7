#include "data/tokenize_files.h"

#include <c10/util/Exception.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <thread>

#include "data/utf8.h"

namespace temper {

namespace {

constexpr size_t kPortionsPerThread = 4;

/// One portion on its way through the threads.
struct Task {
  Portion portion;
  // The result: ids, and where in them documents end.
  std::vector<int32_t> ids;
  std::vector<size_t> ends;
  TokenizeCounts counts;
  std::exception_ptr error;
  bool done = false;
};

/// What a thread does with a portion.
class Encoder {
 public:
  Encoder(const TokenizeJob& job, const Tokenizer& tokenizer) : job_(job), tokenizer_(tokenizer) {}

  void run(Task& task) const {
    if (task.portion.source->jsonl) {
      encode_lines(task);
    } else {
      for (const Portion::Part& part : task.portion.parts) encode_part(task, part);
    }
  }

 private:
  void encode_part(Task& task, const Portion::Part& part) const {
    const std::string_view file = task.portion.file->bytes();
    const size_t bad = job_.any_bytes ? std::string_view::npos : find_invalid_utf8(part.text);
    TORCH_CHECK_VALUE(bad == std::string_view::npos || job_.replace_invalid, "--", job_.option, " ",
                      task.portion.source->path, ": byte ",
                      static_cast<size_t>(part.text.data() - file.data()) + bad,
                      " is not UTF-8; convert the file (iconv), or give --tokenize.invalid-utf8 "
                      "replace");
    if (bad != std::string_view::npos) ++task.counts.replaced;
    append(task, part.begins ? tokenizer_.encode(part.text) : tokenizer_.encode_rest(part.text),
           part.text.size(), part.ends);
  }

  void encode_lines(Task& task) const {
    std::string_view rest = task.portion.bytes;
    for (int64_t number = task.portion.first_line; !rest.empty(); ++number) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      try {
        encode_line(task, line);
      } catch (const c10::ValueError& error) {
        TORCH_CHECK_VALUE(false, "--", job_.option, " ", task.portion.source->path, ": line ",
                          number, ": ", error.what_without_backtrace());
      }
    }
  }

  void encode_line(Task& task, std::string_view line) const {
    const size_t bad = find_invalid_utf8(line);  // JSON is UTF-8 whatever the tokenizer takes
    TORCH_CHECK_VALUE(bad == std::string_view::npos || job_.replace_invalid, "byte ", bad,
                      " is not UTF-8; convert the file (iconv), or give --tokenize.invalid-utf8 "
                      "replace");
    if (bad != std::string_view::npos) ++task.counts.replaced;
    const std::string& field = task.portion.source->field;
    const std::string text = bad == std::string_view::npos
                                 ? jsonl_document(line, field)
                                 : jsonl_document(replace_invalid_utf8(line), field);
    if (text.empty()) {
      ++task.counts.empty;
    } else {
      append(task, tokenizer_.encode(text), text.size(), /*ends=*/true);
    }
  }

  void append(Task& task, const std::vector<int32_t>& ids, size_t text_bytes, bool ends) const {
    task.ids.insert(task.ids.end(), ids.begin(), ids.end());
    task.counts.text_bytes += static_cast<int64_t>(text_bytes);
    if (!ends) return;
    if (job_.end_of_document) task.ids.push_back(*job_.end_of_document);
    task.ends.push_back(task.ids.size());
    ++task.counts.documents;
  }

  const TokenizeJob& job_;
  const Tokenizer& tokenizer_;
};

/// Threads that take tasks in order.
class Workers {
 public:
  Workers(const Encoder& encoder, int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this, &encoder] { work(encoder); });
  }
  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void add(Task* task) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(task);
    }
    wake_.notify_one();
  }

  void wait_for(const Task& task) {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return task.done; });
    if (task.error != nullptr) std::rethrow_exception(task.error);
  }

 private:
  void work(const Encoder& encoder) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
      if (stop_) return;
      Task* task = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      std::exception_ptr error;
      try {
        encoder.run(*task);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      task->error = error;
      task->done = true;
      finished_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::deque<Task*> waiting_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

void write(const Task& task, TokenWriter& writer) {
  const std::span<const int32_t> ids(task.ids);
  size_t begin = 0;
  for (const size_t end : task.ends) {
    writer.write(ids.subspan(begin, end - begin));
    writer.end_document();
    begin = end;
  }
  writer.write(ids.subspan(begin));
}

}  // namespace

TokenizeCounts tokenize_files(const TokenizeJob& job, const Tokenizer& tokenizer,
                              TokenWriter& writer,
                              const std::function<void(int64_t file_bytes)>& progress) {
  const Encoder encoder(job, tokenizer);
  DocumentReader reader(job.sources, tokenizer, job.option);
  TokenizeCounts total;
  int64_t file_bytes = 0;
  std::deque<Task> tasks;  // declared before the threads that look at them
  Workers workers(encoder, job.threads);
  for (bool more = true; more || !tasks.empty();) {
    while (more && tasks.size() < kPortionsPerThread * static_cast<size_t>(job.threads)) {
      std::optional<Portion> portion = reader.next();
      more = portion.has_value();
      if (!more) break;
      workers.add(&tasks.emplace_back(Task{std::move(*portion), {}, {}, {}, {}, false}));
    }
    if (tasks.empty()) break;
    const Task& oldest = tasks.front();
    workers.wait_for(oldest);
    write(oldest, writer);
    total.documents += oldest.counts.documents;
    total.empty += oldest.counts.empty;
    total.text_bytes += oldest.counts.text_bytes;
    total.replaced += oldest.counts.replaced;
    file_bytes += static_cast<int64_t>(oldest.portion.bytes.size());
    oldest.portion.file->release(oldest.portion.bytes);
    tasks.pop_front();
    progress(file_bytes);
  }
  return total;
}

}  // namespace temper
