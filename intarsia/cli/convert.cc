// intarsia convert MODEL OUT: the same model in another kind of file.
#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/cli/command.h"
#include "intarsia/cli/serving.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/formats/format.h"
#include "intarsia/hub/model_cache.h"

namespace intarsia {
namespace {

struct Flags : OpeningFlags {
  std::string model, out, to, split, shard = "5G";
  bool allow_loss = false;
};

double Bytes(const LazyTensor& tensor) {
  const Format* format = FindFormat(tensor.encoding);
  if (format == nullptr || tensor.shape.rank() == 0) return 0;
  const int64_t k = tensor.shape[-1];
  return k == 0 ? 0
                : static_cast<double>(format->row_bytes(k)) *
                      static_cast<double>(tensor.shape.numel() / k);
}

Result<std::vector<std::string>> WriteGgufOf(const Checkpoint& checkpoint,
                                             const Flags& flags) {
  uint64_t part = 0;
  if (!flags.split.empty()) {
    ASSIGN_OR_RETURN(part, ParseSize("--split-max-size", flags.split));
  }
  ASSIGN_OR_RETURN(GgufModel model, ToGgufModel(checkpoint));
  WarnAll(model.warnings);
  RETURN_IF_ERROR(ReportLosses("convert", model.losses, flags.allow_loss));
  ProgressBar bar("gguf");
  double total = 0, done = 0;
  for (LazyTensor& tensor : model.tensors) {
    const double bytes = Bytes(tensor);
    total += bytes;
    tensor.values = [&, bytes, read = std::move(tensor.values)] {
      bar.Update(done, total);
      done += bytes;
      return read();
    };
  }
  ASSIGN_OR_RETURN(
      std::vector<std::string> paths,
      WriteGgufParts(flags.out, model.metadata, model.tensors, part));
  bar.Update(total, total);
  return paths;
}

Result<std::vector<std::string>> Convert(const Checkpoint& checkpoint,
                                         const std::string& to,
                                         const Flags& flags) {
  if (to == "gguf") return WriteGgufOf(checkpoint, flags);
  ASSIGN_OR_RETURN(const uint64_t shard,
                   ParseSize("--max-shard-size", flags.shard));
  if (to == "native") {
    ASSIGN_OR_RETURN(const ModelFiles files, ReadModelFiles(checkpoint));
    WarnAll(files.warnings);
    RETURN_IF_ERROR(ReportLosses("convert", files.losses, flags.allow_loss));
    std::vector<std::string> warnings;
    RETURN_IF_ERROR(WriteNativeFolder(checkpoint, files, flags.out, shard,
                                      flags.allow_unused, &warnings));
    WarnAll(warnings);
  } else {
    ASSIGN_OR_RETURN(const HfModel model, ReadHfModel(checkpoint));
    WarnAll(model.warnings);
    WarnAll(model.files.warnings);
    RETURN_IF_ERROR(
        ReportLosses("convert", model.files.losses, flags.allow_loss));
    RETURN_IF_ERROR(WriteHfFolder(model, flags.out, shard));
  }
  return std::vector<std::string>{flags.out};
}

Status Run(const Flags& flags) {
  std::string to = flags.to;
  if (to.empty()) {
    if (!flags.out.ends_with(".gguf")) {
      return InvalidArgument(
          "[convert] a folder can be of Hugging Face or of this program: say "
          "--to hf or --to native");
    }
    to = "gguf";
  }
  ASSIGN_OR_RETURN(const std::string path, ResolveModel(flags.model));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                   Checkpoint::Open(path));
  if (to == "gguf") RETURN_IF_ERROR(AtomicFile::Check(flags.out, "convert"));
  RETURN_IF_ERROR(CheckNotSource(*checkpoint, flags.out, "convert"));
  RETURN_IF_ERROR(CheckShown(*checkpoint, flags));
  ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                   Convert(*checkpoint, to, flags));
  if (flags.json) {
    PrintJson({{"kind", to}, {"files", paths}});
    return Status::Ok();
  }
  for (const std::string& written : paths) std::printf("%s\n", written.c_str());
  return Status::Ok();
}

}  // namespace

void AddConvert(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddOpening(verb, flags.get());
  verb.Add("MODEL", &flags->model, "Folder, .gguf file or pulled model")
      .Required();
  verb.Add("OUT", &flags->out, "What to write: a .gguf file or a folder")
      .Required();
  verb.Add("--to", &flags->to, {"gguf", "hf", "native"},
           "By default GGUF for OUT.gguf");
  verb.Add("--allow-loss", &flags->allow_loss,
           "Go on without what the new file has no place for");
  verb.Add("--split-max-size", &flags->split,
           "GGUF: parts of at most so much (500M, 2G)");
  verb.Add("--max-shard-size", &flags->shard,
           "Folders: safetensors files of at most so much");
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
