/* What a graft says of itself (urza/layer.h), as an attribute of urza.Module. */
#include "extension.h"

#include "urza/layer.h"

const char *const graft_blends[GRAFT_BLENDS] = {"residual", "lerp", "multiply", "gate"};

PyObject *graft_shown(PyObject *self, void *unused)
{
    urza_graft_info *info;
    urza_error err;
    (void)unused;
    if (urza_graft_info_new(((struct module_object *)self)->module, &info, &err) != 0)
        Py_RETURN_NONE;
    PyObject *last = PyTuple_New(info->last_count), *graft = NULL;
    for (uint32_t i = 0; last && i < info->last_count; i++) {
        PyObject *name = PyUnicode_FromString(info->last[i]);
        if (!name || PyTuple_SetItem(last, i, name) != 0)
            Py_CLEAR(last);
    }
    if (last)
        graft = Py_BuildValue("{sssOsI}", "blend", graft_blends[info->blend], "last", last,
                              "chunks", (unsigned int)info->chunks);
    Py_XDECREF(last);
    urza_graft_info_free(info);
    return graft;
}
