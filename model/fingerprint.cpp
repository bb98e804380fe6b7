#include "model/fingerprint.h"

#include <ATen/ATen.h>

#include "data/checksum.h"
#include "model/config_json.h"

namespace temper {

std::string fingerprint(const Transformer& model) {
  const at::NoGradGuard no_grad;
  // What a tokenizer calls its special ids changes no logits.
  TransformerConfig shape = model.config();
  shape.bos_id = shape.pad_id = -1;
  shape.eos_ids.clear();
  Checksum checksum;
  checksum.add(config_json_text(shape));
  checksum.add(c10::toString(model.flat_weights().scalar_type()));
  for (const Parameter& parameter : model.parameters()) {
    checksum.add(parameter.name);
    const at::Tensor value = parameter.value.detach().cpu().contiguous();  // its shape
    checksum.add({static_cast<const char*>(value.const_data_ptr()), value.nbytes()});
  }
  return checksum.hex();
}

}  // namespace temper
