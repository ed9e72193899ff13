/* Formats that cannot be read, recognised by their first bytes, and what a user can do. */
#include <string.h>

#include "compiler/import/import_priv.h"

#define TEXT(text) text, sizeof text - 1

static const struct {
    size_t at;
    const char *bytes;
    size_t size;
    const char *what;
} kinds[] = {
    {0, TEXT("version https://git-lfs"),
     "a pointer of Git LFS, not the file itself: git lfs pull fetches that"},
    {0, TEXT("<"), "a page of the web or XML"},
    {0, TEXT("\x80\x02"), "a pickle of PyTorch: export the module with torch.export or torch.onnx"},
    {0, TEXT("\x80\x04"), "a pickle: export the model to ONNX"},
    {0, TEXT("\x89HDF"), "HDF5, as Keras writes it: export the model to ONNX"},
    {4, TEXT("TFL3"), "a model of TensorFlow Lite: export the original to ONNX"},
    {0, TEXT("\x93NUMPY"), "an array of NumPy, not a model"},
    {0, TEXT("GGUF"), "weights in GGUF, not a graph"},
    {0, TEXT("\x1f\x8b"), "compressed by gzip: unpack it first"},
    {0, TEXT("\x28\xb5\x2f\xfd"), "compressed by zstd: unpack it first"},
    {8, TEXT("{\""), "weights in safetensors, not a graph"},
};

bool import_check_kind(const void *bytes, size_t size, struct error *err)
{
    static const char json[] = "{[\"-0123456789tfn";
    const char *at = bytes;
    size_t space = 0;
    if (size == 0)
        return fail(err, ERR_JSON, "the file is empty");
    while (space < size && memchr(" \t\r\n", at[space], 4))
        space++;
    bool may_be_json = space == size || memchr(json, at[space], sizeof json - 1);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!(may_be_json && kinds[i].at > 0) && size >= kinds[i].at + kinds[i].size &&
            memcmp(at + kinds[i].at, kinds[i].bytes, kinds[i].size) == 0)
            return fail(err, ERR_JSON, "this is %s", kinds[i].what);
    return may_be_json ||
           fail(err, ERR_JSON,
                "this is neither a model (ONNX, or an archive of torch.export) nor a "
                "blueprint, which is JSON");
}
