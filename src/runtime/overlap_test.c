#include "runtime/test_util.h"

/* Memory for all random layouts, and a tensor in it. */
#define BYTES 1024
static char memory[BYTES];

struct layout {
    int64_t shape[LIMIT_RANK], strides[LIMIT_RANK]; /* in elements */
    struct tensor tensor;
};

static void make(struct layout *layout, uint32_t rank, DLDataType dtype, int64_t offset)
{
    struct error err;
    DLTensor dl = {
        .data = memory + offset,
        .device = {.device_type = kDLCPU},
        .ndim = (int32_t)rank,
        .dtype = dtype,
        .shape = layout->shape,
        .strides = layout->strides,
    };
    must(tensor_check(&dl, true, &layout->tensor, &err), &err);
}

/* Counts in `used` the elements that cover each byte; false if one byte is covered twice. */
static bool mark(const struct layout *layout, uint8_t *used)
{
    const struct tensor *tensor = &layout->tensor;
    int64_t size = (int64_t)dtype_bytes(tensor->dtype), at[LIMIT_RANK] = {0};
    bool free_so_far = true;
    for (int64_t n = 0; n < tensor->elements; n++) {
        int64_t byte = tensor->data - memory, rest = n;
        for (uint32_t i = tensor->rank; i-- > 0; rest /= tensor->shape[i]) {
            at[i] = rest % tensor->shape[i];
            byte += at[i] * layout->strides[i] * size;
        }
        for (int64_t i = 0; i < size; i++) {
            assert_true(byte + i >= 0 && byte + i < BYTES);
            free_so_far = free_so_far && used[byte + i] == 0;
            used[byte + i]++;
        }
    }
    return free_so_far;
}

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

static const DLDataType dtypes[] = {
    {kDLUInt, 8, 1}, {kDLInt, 16, 1}, {kDLFloat, 32, 1}, {kDLFloat, 64, 1}};

static void draw_layout(struct layout *layout, uint32_t *seed)
{
    uint32_t rank = draw(seed, 4);
    for (uint32_t i = 0; i < rank; i++) {
        layout->shape[i] = (int64_t)draw(seed, 5);
        layout->strides[i] = (int64_t)draw(seed, 15) - 7;
    }
    /* Mostly at a multiple of the element size, sometimes not. */
    uint32_t dtype = draw(seed, 4);
    int64_t offset = BYTES / 2 + 8 * ((int64_t)draw(seed, 17) - 8);
    make(layout, rank, dtypes[dtype], offset + (draw(seed, 4) == 0 ? draw(seed, 8) : 0));
}

/* The answer must equal that of counting every byte. */
static void decides_small_layouts_exactly(void **state)
{
    (void)state;
    uint32_t seed = 7, met[2] = {0}, parted[2] = {0};
    for (int round = 0; round < 200000; round++) {
        struct layout a = {.shape = {0}}, b = {.shape = {0}};
        uint8_t used[BYTES] = {0}, both[BYTES] = {0};
        draw_layout(&a, &seed);
        draw_layout(&b, &seed);
        bool itself = !mark(&a, used);
        if (tensor_meets_itself(&a.tensor) != itself)
            TEST_FAILED("round %d: a tensor meets itself: %d is right", round, itself);
        mark(&b, both);
        bool meet = false;
        for (int i = 0; i < BYTES; i++)
            meet = meet || (used[i] > 0 && both[i] > 0);
        if (tensors_meet(&a.tensor, &b.tensor) != meet ||
            tensors_meet(&b.tensor, &a.tensor) != meet)
            TEST_FAILED("round %d: two tensors meet: %d is right", round, meet);
        met[0] += itself;
        met[1] += meet;
        parted[0] += !itself;
        parted[1] += !meet;
    }
    for (int i = 0; i < 2; i++)
        assert_true(met[i] > 10000 && parted[i] > 10000);
}

/* A tensor far larger than memory; only addresses are used. */
static struct tensor large(struct layout *layout, uint32_t rank, const int64_t (*dims)[2],
                           int64_t offset)
{
    for (uint32_t i = 0; i < rank; i++) {
        layout->shape[i] = dims[i][0];
        layout->strides[i] = dims[i][1];
    }
    make(layout, rank, (DLDataType){kDLFloat, 32, 1}, offset);
    return layout->tensor;
}

static void decides_large_interleaved_layouts(void **state)
{
    (void)state;
    struct layout a, b;
    /* Alternating columns of one matrix; then the same columns. */
    static const int64_t columns[][2] = {{100000, 2000}, {1000, 2}};
    struct tensor even = large(&a, 2, columns, 0), odd = large(&b, 2, columns, 4);
    assert_false(tensors_meet(&even, &odd));
    odd = large(&b, 2, columns, 8 * 2000 + 16);
    assert_true(tensors_meet(&even, &odd));
    assert_false(tensor_meets_itself(&even));
    /* Alternating rows, one set of them transposed and with a negative stride. */
    static const int64_t rows[][2] = {{5000, 600}, {300, 1}},
                         turned[][2] = {{300, 1}, {5000, -600}};
    struct tensor upper = large(&a, 2, rows, 0),
                  lower = large(&b, 2, turned, 4 * (4999 * 600 + 300));
    assert_false(tensors_meet(&upper, &lower));
    lower = large(&b, 2, turned, 4 * (4999 * 600 + 299));
    assert_true(tensors_meet(&upper, &lower));
    /* Channels of images, in groups of 3 and 5. */
    static const int64_t three[][2] = {{64, 8 * 49}, {3, 49}, {7, 7}, {7, 1}};
    static const int64_t five[][2] = {{64, 8 * 49}, {5, 49}, {7, 7}, {7, 1}};
    struct tensor first = large(&a, 4, three, 0), second = large(&b, 4, five, 4 * 3 * 49);
    assert_false(tensors_meet(&first, &second));
    second = large(&b, 4, five, 4 * 2 * 49);
    assert_true(tensors_meet(&first, &second));
}

static void gives_up_on_the_safe_side(void **state)
{
    (void)state;
    struct layout a, b;
    /* Disjoint, as comparing all 6561 elements of each shows; but with steps of nearly equal size
     * the search cannot rule out sums early. */
    static const int64_t one[][2] = {
        {9, 199999999573}, {9, 182345678917}, {9, 173456789023}, {9, 161234567891}};
    static const int64_t other[][2] = {
        {9, 195432198761}, {9, 187654321987}, {9, 171234598763}, {9, 165432198769}};
    struct tensor x = large(&a, 4, one, 0), y = large(&b, 4, other, 4);
    assert_true(tensors_meet(&x, &y));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides_small_layouts_exactly),
        cmocka_unit_test(decides_large_interleaved_layouts),
        cmocka_unit_test(gives_up_on_the_safe_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
