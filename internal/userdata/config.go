package userdata

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a #cloud-config with its aliases written out: what a guest would make
// of it. Without aliases no text within Most comes near them.
const (
	mostBytes = 16 * Most
	mostDepth = 64
)

// checkConfig refuses what is no single YAML mapping of known tags and unique
// keys, or is too much once its aliases are written out.
func checkConfig(text string) error {
	d := yaml.NewDecoder(strings.NewReader(text))
	var doc yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil // comments alone: it sets nothing
	}
	if err != nil {
		return notYAML(err)
	}
	var next yaml.Node
	if err := d.Decode(&next); err == nil {
		return problemf("holds a second YAML document, from line %d on", next.Line)
	} else if !errors.Is(err, io.EOF) {
		return notYAML(err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode && root.ShortTag() != "!!null" {
		return problemf("is no mapping of keys and values at line %d, as a #cloud-config has to be", root.Line)
	}
	_, err = (&measurer{known: map[*yaml.Node]extent{}}).measure(root, 0)
	return err
}

var yamlLine = regexp.MustCompile(`\bline ([0-9]{1,6})\b`)

// notYAML says where YAML is not well-formed. The decoder's own words may quote
// the text, and are left out.
func notYAML(err error) error {
	if at := yamlLine.FindStringSubmatch(err.Error()); at != nil {
		return problemf("is not well-formed YAML near line %s", at[1])
	}
	return problemf("is not well-formed YAML")
}

// measurer finds out how large nodes are with their aliases written out.
type measurer struct{ known map[*yaml.Node]extent }

// extent is how large a node is.
type extent struct {
	bytes, depth int
	open         bool // it is being measured
}

// measure returns how large n is.
func (m *measurer) measure(n *yaml.Node, level int) (extent, error) {
	if e, known := m.known[n]; known {
		if e.open {
			return e, problemf("has an alias within what it stands for in line %d", n.Line)
		}
		return e, nil
	}
	if n.Kind != yaml.AliasNode && !tags[n.ShortTag()] {
		return extent{}, problemf("has a tag in line %d that cloud-init does not know", n.Line)
	}
	if err := checkKeys(n); err != nil {
		return extent{}, err
	}
	m.known[n] = extent{open: true}
	parts := n.Content
	if n.Kind == yaml.AliasNode {
		parts = []*yaml.Node{n.Alias}
	}
	e := extent{bytes: 1 + len(n.Value)}
	for _, part := range parts {
		inner, err := m.measure(part, level+1)
		if err != nil {
			return e, err
		}
		e.bytes, e.depth = e.bytes+inner.bytes, max(e.depth, inner.depth+1)
		if e.bytes > mostBytes {
			return e, problemf("has more than %d bytes once its aliases are written out, in line %d", mostBytes, n.Line)
		}
	}
	if level+e.depth > mostDepth {
		return e, problemf("is nested more than %d deep in line %d", mostDepth, n.Line)
	}
	m.known[n] = e
	return e, nil
}

// tags are those of YAML's own types, which are all that cloud-init's reader takes.
var tags = map[string]bool{
	"!!null": true, "!!bool": true, "!!int": true, "!!float": true, "!!str": true, "!!binary": true, "!!timestamp": true,
	"!!map": true, "!!seq": true, "!!set": true, "!!omap": true, "!!pairs": true, "!!merge": true,
}

// checkKeys refuses a mapping that has a key twice: readers differ in which one
// they take.
func checkKeys(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	lines := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			continue
		}
		name := key.ShortTag() + " " + key.Value
		if before, twice := lines[name]; twice {
			return problemf("has the key of line %d again in line %d", before, key.Line)
		}
		lines[name] = key.Line
	}
	return nil
}
