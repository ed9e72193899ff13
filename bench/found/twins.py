"""The list of twins: models like those that people bring, by the name of what makes one."""

TWINS = {}


def twin(function):
    TWINS[function.__name__] = function
    return function
