/* The part of DLPack's C ABI that hands tensors over (DLPack 1.3, dmlc/dlpack; urza/dlpack.h has
 * the tensor itself): who owns them, in both forms, and the table by which a library of arrays
 * exchanges them without calling Python. Plain structs, fixed by DLPack.
 *
 * A capsule named "dltensor_versioned" holds a DLManagedTensorVersioned, one named "dltensor" the
 * older DLManagedTensor. Whoever takes a tensor out of a capsule renames it to "used_dltensor…" and
 * calls the deleter once; a capsule that is destroyed under its first name does that itself. */
#ifndef URZA_PYTHON_MANAGED_H
#define URZA_PYTHON_MANAGED_H

#include "urza/dlpack.h"

#define DLPACK_MAJOR 1
#define DLPACK_MINOR 3
#define DLPACK_READ_ONLY ((uint64_t)1)
#define DLPACK_IS_COPIED ((uint64_t)2)

/* Devices whose memory the CPU reads, besides kDLCPU. */
#define DLPACK_CUDA_HOST 3
#define DLPACK_ROCM_HOST 11

typedef struct {
    uint32_t major, minor;
} DLPackVersion;

typedef struct DLManagedTensor {
    DLTensor dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self); /* may be NULL */
} DLManagedTensor;

typedef struct DLManagedTensorVersioned {
    DLPackVersion version; /* of another major version only the next two fields may be read */
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self); /* may be NULL */
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

typedef struct DLPackExchangeAPIHeader {
    DLPackVersion version;
    struct DLPackExchangeAPIHeader *prev_api; /* the table of an older major version, or NULL */
} DLPackExchangeAPIHeader;

/* Functions that return int give 0, or −1 with a Python exception set. They never wait for streams
 * of a device. */
typedef struct DLPackExchangeAPI {
    DLPackExchangeAPIHeader header;
    int (*managed_tensor_allocator)(DLTensor *prototype, DLManagedTensorVersioned **out,
                                    void *error_context,
                                    void (*set_error)(void *error_context, const char *kind,
                                                      const char *message));
    int (*managed_tensor_from_py_object_no_sync)(void *object, DLManagedTensorVersioned **out);
    int (*managed_tensor_to_py_object_no_sync)(DLManagedTensorVersioned *tensor, /* taken over */
                                               void **out_object);
    /* Borrows: the tensor is valid as long as the object, unchanged. May be NULL. */
    int (*dltensor_from_py_object_no_sync)(void *object, DLTensor *out);
    int (*current_work_stream)(int device_type, int32_t device_id, void **out_stream);
} DLPackExchangeAPI;

#endif
