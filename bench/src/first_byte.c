/* The smallest program whose start can be seen from outside: one byte, then it waits to be ended. */
#include <unistd.h>

int main(void) {
    if (write(1, "x", 1) != 1) return 1;
    pause();
    return 0;
}
