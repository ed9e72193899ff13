#include "runtime/test_util.h"

static float values[32];

static DLTensor good(struct test_tensor *tensor)
{
    test_tensor_init(tensor, values, 3);
    return tensor->dl;
}

static void refuse(const DLTensor *given, const char *text)
{
    struct tensor tensor = {.rank = 77};
    struct error err;
    assert_false(tensor_check(given, true, &tensor, &err));
    assert_int_equal(err.code, ERR_INPUT);
    if (!strstr(err.message, text))
        TEST_FAILED("'%s' is not in '%s'", text, err.message);
    assert_int_equal(tensor.rank, 77);
}

static void refuses_what_is_no_tensor(void **state)
{
    (void)state;
    struct test_tensor tensor;
    DLTensor dl = good(&tensor);
    dl.data = NULL;
    refuse(&dl, "no data");
    dl = good(&tensor);
    dl.device.device_type = (DLDeviceType)2;
    refuse(&dl, "device type 2");
    dl = good(&tensor);
    dl.ndim = -1;
    refuse(&dl, "-1 dims");
    dl.ndim = 9;
    refuse(&dl, "9 dims");
    dl = good(&tensor);
    dl.shape = NULL;
    refuse(&dl, "no shape");
    dl = good(&tensor);
    dl.dtype.lanes = 2;
    refuse(&dl, "2 lanes");
    dl = good(&tensor);
    dl.dtype.bits = 8;
    refuse(&dl, "8 bits");
}

static void refuses_sizes_that_do_not_fit(void **state)
{
    (void)state;
    struct test_tensor tensor;
    DLTensor dl = good(&tensor);
    tensor.shape[0] = -1;
    refuse(&dl, "dim 0 is -1");
    tensor.shape[0] = INT64_MAX;
    refuse(&dl, "dim 0");
    tensor.shape[0] = tensor.shape[1] = LIMIT_DIM_VALUE;
    refuse(&dl, "too many");
    tensor.shape[0] = (int64_t)1 << 39;
    tensor.shape[1] = 8;
    refuse(&dl, "too large");
    tensor.shape[0] = 3;
    tensor.strides[0] = INT64_MAX;
    dl.strides = tensor.strides;
    refuse(&dl, "stride 0");
    tensor.strides[0] = INT64_MIN;
    refuse(&dl, "stride 0");
}

static void refuses_what_leaves_the_address_space(void **state)
{
    (void)state;
    struct test_tensor tensor;
    DLTensor dl = good(&tensor);
    dl.data = (void *)(UINTPTR_MAX - 15);
    refuse(&dl, "memory there can be");
    dl.data = (void *)(uintptr_t)16;
    dl.strides = memcpy(tensor.strides, (int64_t[]){-4, -1}, 16);
    refuse(&dl, "memory there can be");
}

static void strides_of_single_elements_are_no_matter(void **state)
{
    (void)state;
    struct test_tensor given;
    struct tensor tensor;
    struct error err;
    DLTensor dl = good(&given);
    given.shape[0] = 1;
    dl.strides = memcpy(given.strides, (int64_t[]){INT64_MIN, 2}, 16);
    must(tensor_check(&dl, true, &tensor, &err), &err);
    assert_false(tensor.dense);
    float dense[4];
    for (int i = 0; i < 8; i++)
        values[i] = (float)i;
    copy_to_dense(dense, &tensor);
    for (int i = 0; i < 4; i++)
        assert_true(dense[i] == (float)(2 * i));
}

static void knows_what_is_dense(void **state)
{
    (void)state;
    static const struct {
        int64_t shape[2], strides[2];
        bool dense;
    } rows[] = {
        {{3, 4}, {4, 1}, true},   {{3, 4}, {5, 1}, false}, {{3, 4}, {1, 3}, false},
        {{1, 4}, {99, 1}, true},  {{3, 1}, {1, 99}, true}, {{0, 4}, {7, 7}, true},
        {{3, 4}, {-4, 1}, false}, {{3, 4}, {0, 1}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_tensor given;
        struct tensor tensor;
        struct error err;
        DLTensor dl = good(&given);
        memcpy(given.shape, rows[i].shape, sizeof rows[i].shape);
        memcpy(given.strides, rows[i].strides, sizeof rows[i].strides);
        dl.strides = given.strides;
        must(tensor_check(&dl, true, &tensor, &err), &err);
        assert_int_equal(tensor.dense, rows[i].dense);
        assert_int_equal(tensor.size_bytes, rows[i].shape[0] * rows[i].shape[1] * 4);
        dl.data = (char *)values + 2;
        must(tensor_check(&dl, true, &tensor, &err), &err);
        assert_false(tensor.dense);
        dl.data = values;
        dl.byte_offset = 8;
        must(tensor_check(&dl, true, &tensor, &err), &err);
        assert_ptr_equal(tensor.data, values + 2);
    }
}

static void takes_empty_and_scalar_tensors(void **state)
{
    (void)state;
    struct test_tensor given;
    struct tensor tensor;
    struct error err;
    DLTensor dl = good(&given);
    given.shape[0] = 0;
    dl.data = NULL;
    must(tensor_check(&dl, true, &tensor, &err), &err);
    assert_int_equal(tensor.elements, 0);
    dl = (DLTensor){.data = values, .device = {.device_type = kDLCPU}, .dtype = {kDLBool, 8, 1}};
    must(tensor_check(&dl, true, &tensor, &err), &err);
    assert_int_equal(tensor.dtype, DTYPE_BOOL);
    assert_int_equal(tensor.elements, 1);
    assert_true(tensor.dense);
}

static void dtypes_go_both_ways(void **state)
{
    (void)state;
    for (int dtype = DTYPE_NONE + 1; dtype < DTYPE_COUNT; dtype++) {
        struct tensor tensor;
        struct error err;
        DLTensor dl = {.data = values,
                       .device = {.device_type = kDLCPU},
                       .dtype = tensor_dtype((enum dtype)dtype)};
        must(tensor_check(&dl, true, &tensor, &err), &err);
        assert_int_equal(tensor.dtype, dtype);
        assert_int_equal(dl.dtype.bits, dtype_bytes((enum dtype)dtype) * 8);
    }
}

/* Every element size with forward, backward and permuted strides, copied both ways. */
static void copies_keep_every_element(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_I8, DTYPE_I16, DTYPE_I32, DTYPE_I64};
    static const int64_t strides[][3] = {{12, 4, 1},  {1, 2, 6},   {-12, -4, -1},
                                         {40, 12, 2}, {1, -8, 24}, {12, 4, -1}};
    static const int64_t shape[3] = {2, 3, 4};
    for (size_t d = 0; d < 4; d++) {
        for (size_t s = 0; s < sizeof strides / sizeof strides[0]; s++) {
            size_t size = dtype_bytes(dtypes[d]);
            uint8_t memory[200 * 8 + 1], dense[24 * 8], back[sizeof memory];
            for (size_t i = 0; i < sizeof memory; i++)
                memory[i] = (uint8_t)(i * 7 + i / 256);
            struct tensor tensor = {.dtype = dtypes[d],
                                    .rank = 3,
                                    .shape = shape,
                                    .strides = strides[s],
                                    .elements = 24,
                                    .size_bytes = 24 * size,
                                    .data = (char *)memory + 100 * size + 1};
            copy_to_dense(dense, &tensor);
            memset(back, 0xee, sizeof back);
            tensor.data = (char *)back + 100 * size + 1;
            copy_from_dense(&tensor, dense);
            for (int64_t i = 0; i < 24; i++) {
                int64_t at = 100 + i / 12 * strides[s][0] + i / 4 % 3 * strides[s][1] +
                             i % 4 * strides[s][2];
                size_t byte = (size_t)at * size + 1;
                assert_memory_equal(dense + (size_t)i * size, memory + byte, size);
                assert_memory_equal(back + byte, memory + byte, size);
            }
        }
    }
}

static void maps_code_that_cannot_be_written(void **state)
{
    (void)state;
    struct image image;
    struct error err;
    must(image_map(&image, test_code, sizeof test_code, &err), &err);
    assert_memory_equal(image.code, test_code, sizeof test_code);
    char line[512];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char access[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, access) != 3 ||
            start > (uintptr_t)image.code || end <= (uintptr_t)image.code)
            continue;
        found = true;
        assert_string_equal(access, "r-xp");
    }
    fclose(maps);
    assert_true(found);
    image_unmap(&image);
    assert_null(image.code);
    must(image_map(&image, NULL, 0, &err), &err);
    assert_null(image.code);
    image_unmap(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_no_tensor),
        cmocka_unit_test(refuses_sizes_that_do_not_fit),
        cmocka_unit_test(refuses_what_leaves_the_address_space),
        cmocka_unit_test(strides_of_single_elements_are_no_matter),
        cmocka_unit_test(knows_what_is_dense),
        cmocka_unit_test(takes_empty_and_scalar_tensors),
        cmocka_unit_test(dtypes_go_both_ways),
        cmocka_unit_test(copies_keep_every_element),
        cmocka_unit_test(maps_code_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
