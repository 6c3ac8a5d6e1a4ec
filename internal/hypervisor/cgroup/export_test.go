package cgroup

// Settings is what is written for a controller.
func Settings(l Limits, c string, v2 bool) [][2]string { return l.settings(c, v2) }

// Places returns where each controller is used.
func (t *Tree) Places() map[string]string { return t.places }

// VersionOf reads a version of systemd.
var VersionOf = versionOf
