/* Every bound of the system. Passing one is ERR_LIMIT, never a silent truncation. */
#ifndef URZA_BASE_LIMITS_H
#define URZA_BASE_LIMITS_H

#define LIMIT_RANK 8                          /* dims of a tensor */
#define LIMIT_NODES 1048576                   /* values in one graph */
#define LIMIT_OPERANDS 64                     /* operands of one node (concat is the widest) */
#define LIMIT_NAME 256                        /* bytes of the name of a dim or an entry */
#define LIMIT_NAMED_DIMS 32                   /* named dims of one graph */
#define LIMIT_DIM_TERMS 32                    /* terms of one dim expression in normal form */
#define LIMIT_DIM_VALUE ((int64_t)1 << 40)    /* largest run-time value of a dim */
#define LIMIT_TENSOR_BYTES ((int64_t)1 << 42) /* bytes of one tensor */
#define LIMIT_LITERAL_ELEMENTS 4096           /* elements of a tensor written out in a graph */
#define LIMIT_JSON_BYTES ((size_t)64 << 20)   /* a blueprint, a manifest */
#define LIMIT_MODEL_BYTES ((size_t)64 << 30)  /* a model with its weights */
#define LIMIT_JSON_DEPTH 64
#define LIMIT_REQUEST_VALUES ((size_t)3 << 18) /* JSON values of one request to a service */
#define LIMIT_RECORD_BYTES ((size_t)64 << 20)  /* one record of the catalogue, all its texts */
#define LIMIT_PACKAGE_ENTRIES 256
#define LIMIT_PACKAGE_BYTES ((uint64_t)1 << 40)
#define LIMIT_LAUNCHES 1048576 /* launches of one entry point */
#define LIMIT_THREADS 256
#define LIMIT_KERNEL_BUFFERS 256 /* buffers one kernel touches */
#define LIMIT_SPECIALS 16        /* sizes for which one package has kernels of their own */
#define LIMIT_KERNEL_EDGES 64    /* sizes around which one kernel's code differs */

#endif
