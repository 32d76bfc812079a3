// Package integration tests the programs as people run them: qsfs with real
// mounts, and real zdbd processes on loopback. It holds tests alone, and uses
// nothing of the programs but their arguments, output, exit codes and files.
//
// The tests need root and /dev/fuse. Where one is missing they are skipped, but
// with CI=true in the environment they fail, so that no pipeline is green
// because it tested nothing.
//
// # Environment
//
//	QSFS_TEST_DIR          where volumes, nodes and trees are made: a disk, some 3 GB.
//	                       Default: the folder for temporary files, /var/tmp when that one is in memory
//	QSFS_TEST_PROGRAMS     a folder with qsfs and zdbd; the tests take these and build none
//	QSFS_TEST_BUILD_FLAGS  given to go build, for example -race
//	QSFS_KILL_ROUNDS       how often TestKillDuringCopy kills each kind of volume
//	QSFS_TEST_SEED         the seed printed by a run that is to be repeated
//
// go test -short takes a smaller tree and fewer rounds.
//
// # What is left behind
//
// Nothing: each test ends the processes it started, by their ids, and takes away
// its mounts, also when it fails. A test binary that is killed takes its
// processes in front with it (PR_SET_PDEATHSIG).
package integration
