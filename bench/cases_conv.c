/* The distinct convolutions of ResNet-50, MobileNetV2 and a U-Net, without their biases. Channels
 * last is how a convolution runs inside a block: only what enters and leaves the block is NCHW. */
#include <string.h>

#include "base/strbuf.h"
#include "bench.h"

struct layer {
    const char *network;
    int64_t channels, size, filters, window, stride, groups; /* size: height and width */
};

#define RESNET "resnet50"
#define MOBILE "mobilenetv2"
#define UNET "unet"

static const struct layer layers[] = {
    {RESNET, 3, 224, 64, 7, 2, 1},     {RESNET, 64, 56, 64, 1, 1, 1},
    {RESNET, 64, 56, 64, 3, 1, 1},     {RESNET, 64, 56, 256, 1, 1, 1},
    {RESNET, 256, 56, 64, 1, 1, 1},    {RESNET, 256, 56, 128, 1, 1, 1},
    {RESNET, 128, 56, 128, 3, 2, 1},   {RESNET, 256, 56, 512, 1, 2, 1},
    {RESNET, 128, 28, 512, 1, 1, 1},   {RESNET, 512, 28, 128, 1, 1, 1},
    {RESNET, 128, 28, 128, 3, 1, 1},   {RESNET, 512, 28, 256, 1, 1, 1},
    {RESNET, 256, 28, 256, 3, 2, 1},   {RESNET, 512, 28, 1024, 1, 2, 1},
    {RESNET, 256, 14, 1024, 1, 1, 1},  {RESNET, 1024, 14, 256, 1, 1, 1},
    {RESNET, 256, 14, 256, 3, 1, 1},   {RESNET, 1024, 14, 512, 1, 1, 1},
    {RESNET, 512, 14, 512, 3, 2, 1},   {RESNET, 1024, 14, 2048, 1, 2, 1},
    {RESNET, 512, 7, 2048, 1, 1, 1},   {RESNET, 2048, 7, 512, 1, 1, 1},
    {RESNET, 512, 7, 512, 3, 1, 1},    {MOBILE, 3, 224, 32, 3, 2, 1},
    {MOBILE, 32, 112, 32, 3, 1, 32},   {MOBILE, 32, 112, 16, 1, 1, 1},
    {MOBILE, 16, 112, 96, 1, 1, 1},    {MOBILE, 96, 112, 96, 3, 2, 96},
    {MOBILE, 96, 56, 24, 1, 1, 1},     {MOBILE, 24, 56, 144, 1, 1, 1},
    {MOBILE, 144, 56, 144, 3, 1, 144}, {MOBILE, 144, 56, 24, 1, 1, 1},
    {MOBILE, 144, 56, 144, 3, 2, 144}, {MOBILE, 144, 28, 32, 1, 1, 1},
    {MOBILE, 32, 28, 192, 1, 1, 1},    {MOBILE, 192, 28, 192, 3, 1, 192},
    {MOBILE, 192, 28, 32, 1, 1, 1},    {MOBILE, 192, 28, 192, 3, 2, 192},
    {MOBILE, 192, 14, 64, 1, 1, 1},    {MOBILE, 64, 14, 384, 1, 1, 1},
    {MOBILE, 384, 14, 384, 3, 1, 384}, {MOBILE, 384, 14, 64, 1, 1, 1},
    {MOBILE, 384, 14, 96, 1, 1, 1},    {MOBILE, 96, 14, 576, 1, 1, 1},
    {MOBILE, 576, 14, 576, 3, 1, 576}, {MOBILE, 576, 14, 96, 1, 1, 1},
    {MOBILE, 576, 14, 576, 3, 2, 576}, {MOBILE, 576, 7, 160, 1, 1, 1},
    {MOBILE, 160, 7, 960, 1, 1, 1},    {MOBILE, 960, 7, 960, 3, 1, 960},
    {MOBILE, 960, 7, 160, 1, 1, 1},    {MOBILE, 960, 7, 320, 1, 1, 1},
    {MOBILE, 320, 7, 1280, 1, 1, 1},   {UNET, 64, 256, 64, 3, 1, 1},
    {UNET, 128, 128, 128, 3, 1, 1},    {UNET, 256, 64, 256, 3, 1, 1},
    {UNET, 512, 32, 512, 3, 1, 1},     {UNET, 1024, 16, 1024, 3, 1, 1},
    {UNET, 64, 256, 2, 1, 1, 1},
};

#define BATCH_FLOPS_MAX 8e9 /* of a large batch: what takes longer says nothing new */

static void write_nodes(struct strbuf *text, const struct conv *conv)
{
    if (conv->channels_last)
        strbuf_puts(text, "{\"id\": \"t\", \"op\": \"permute\", \"in\": [\"x\"], \"attrs\": "
                          "{\"dims\": [0, 3, 1, 2]}}, ");
    strbuf_printf(text,
                  "{\"id\": \"%s\", \"op\": \"conv2d\", \"in\": [\"%s\", \"w\"], "
                  "\"attrs\": {\"stride\": %lld, \"padding\": %lld, \"groups\": %lld}}",
                  conv->channels_last ? "u" : "y", conv->channels_last ? "t" : "x",
                  (long long)conv->stride, (long long)conv->padding, (long long)conv->groups);
    if (conv->channels_last)
        strbuf_puts(text, ", {\"id\": \"y\", \"op\": \"permute\", \"in\": [\"u\"], \"attrs\": "
                          "{\"dims\": [0, 2, 3, 1]}}");
}

static const char *write_blueprint(struct arena *arena, const struct conv *conv)
{
    struct strbuf text;
    int64_t shape[] = {conv->batch, conv->channels, conv->height, conv->width};
    if (conv->channels_last)
        memcpy(shape + 1, (int64_t[]){conv->height, conv->width, conv->channels},
               3 * sizeof shape[0]);
    strbuf_init(&text, arena);
    strbuf_printf(&text,
                  "{\"format\": \"urza.blueprint/1\", \"name\": \"conv\", \"inputs\": [{\"id\": "
                  "\"x\", \"dtype\": \"f32\", \"shape\": [%lld, %lld, %lld, %lld]}],",
                  (long long)shape[0], (long long)shape[1], (long long)shape[2],
                  (long long)shape[3]);
    strbuf_printf(&text,
                  "\"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [%lld, %lld, %lld, "
                  "%lld], \"init\": {\"kind\": \"kaiming_uniform\"}}], \"nodes\": [",
                  (long long)conv->filters, (long long)(conv->channels / conv->groups),
                  (long long)conv->window, (long long)conv->window);
    write_nodes(&text, conv);
    strbuf_puts(&text, "], \"outputs\": [\"y\"]}");
    return text.data;
}

static void add_layer(struct case_list *list, const struct layer *layer, int64_t batch,
                      bool channels_last)
{
    int64_t terms = layer->channels / layer->groups * layer->window * layer->window;
    int64_t out_size = layer->size / layer->stride;
    if (batch > 1 &&
        2.0 * (double)(batch * terms * layer->filters * out_size * out_size) > BATCH_FLOPS_MAX)
        return;
    struct bench_case *one =
        case_add(list, CASE_CONV, NULL, "%s %lldx%lld^2 %lldx%lld/%lld %lld%s b%lld",
                 layer->network, (long long)layer->channels, (long long)layer->size,
                 (long long)layer->window, (long long)layer->window, (long long)layer->stride,
                 (long long)layer->filters, layer->groups > 1 ? " dw" : "", (long long)batch);
    one->terms = terms;
    one->conv = (struct conv){.batch = batch,
                              .channels = layer->channels,
                              .height = layer->size,
                              .width = layer->size,
                              .filters = layer->filters,
                              .window = layer->window,
                              .stride = layer->stride,
                              .padding = layer->window / 2,
                              .groups = layer->groups,
                              .channels_last = channels_last};
    one->blueprint = write_blueprint(list->arena, &one->conv);
}

void cases_conv(struct case_list *list, const char *variant)
{
    bool channels_last = variant && strcmp(variant, "channels-last") == 0;
    for (int64_t batch = 1; batch <= 8; batch += 7)
        for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
            add_layer(list, &layers[i], batch, channels_last);
}
