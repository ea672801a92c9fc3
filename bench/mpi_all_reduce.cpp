// Open MPI's all-reduce, as a yardstick. Usage (under mpirun): shoal-bench-mpi ELEMENTS ROUNDS; rank r writes
// to PREFIX.r
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <mpi.h>
#include <string>
#include <vector>

int main(int count, char** arguments) {
    MPI_Init(&count, &arguments);
    if (count != 4) {
        std::fprintf(stderr, "usage: shoal-bench-mpi ELEMENTS ROUNDS OUTPUT_PREFIX\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const int elements = std::atoi(arguments[1]), rounds = std::atoi(arguments[2]);
    std::FILE* report = std::fopen((std::string(arguments[3]) + "." + std::to_string(rank)).c_str(), "w");
    if (!report) MPI_Abort(MPI_COMM_WORLD, 1);

    std::vector<float> input(static_cast<std::size_t>(elements)), output(input.size());
    for (std::size_t i = 0; i < input.size(); ++i)
        input[i] = static_cast<float>(rank) + static_cast<float>(i % 1000) * 1e-3f;
    for (int round = 0; round < rounds; ++round) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double start = MPI_Wtime();
        const std::clock_t busy = std::clock();
        MPI_Allreduce(input.data(), output.data(), elements, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        const double whole = MPI_Wtime() - start;
        std::fprintf(report, "%.6f %.6f\n", whole, static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC);
    }
    std::fclose(report);
    MPI_Finalize();
}
