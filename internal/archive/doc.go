// Package archive is the form in which a snapshot leaves its server: cut into
// chunks, each compressed and encrypted on its own and kept as an object of its
// own, and a manifest that says which objects there are.
//
// Chunks make an export that broke off go on where it was, and cost nothing where
// a disk is empty. Who has the store and nothing else learns how large an export
// is, and how well each of its chunks could be compressed. Who changes, swaps or
// cuts an object is found out: every object is known by its checksum in the
// manifest, the manifest by its checksum at the control plane, and the whole by that
// of the snapshot.
//
// An object is what `zstd` and then `age` make of a chunk, so that an export can be
// read without this program.
package archive
