#include "data/corpus.h"

namespace temper {

const char* part_name(Part part) {
  switch (part) {
    case Part::kTrain:
      return "train";
    case Part::kFit:
      return "fit";
    case Part::kTest:
      return "test";
  }
  return "unknown";
}

}  // namespace temper
