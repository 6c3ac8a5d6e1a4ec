package listing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxText   = 1 << 20 // a thousand offers are about a quarter of it
	maxValues = 100_000 // with every alias written out
	maxDepth  = 32
)

// huge stands for a whole number larger than any bound.
const huge = json.Number("1e30")

// document is a file while it is read.
type document struct {
	name    string
	root    *yaml.Node // nil when there is none
	faults  []Fault
	values  int
	endless bool // more than is read
}

// open parses the text as far as YAML goes.
func open(name string, text []byte) *document {
	d := &document{name: name}
	if len(text) > maxText {
		d.at(1, 1, "", fmt.Sprintf("the file is larger than %d KiB", maxText>>10))
		return d
	}
	var file, more yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	err := in.Decode(&file)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(file.Content) == 0:
		d.at(1, 1, "", "the file is empty")
		return d
	case err != nil:
		d.syntax(text, err)
		return d
	}
	d.root = file.Content[0]
	switch err := in.Decode(&more); {
	case err == nil:
		d.fault(&more, "", "there is a second document: one file is one listing")
	case !errors.Is(err, io.EOF):
		d.syntax(text, err)
	}
	return d
}

func (d *document) at(line, column int, path, message string) {
	d.faults = append(d.faults, Fault{d.name, max(line, 1), max(column, 1), path, message})
}

func (d *document) fault(n *yaml.Node, path, message string) { d.at(n.Line, n.Column, path, message) }

var syntaxLine = regexp.MustCompile(`^yaml: line ([0-9]+): `)

// syntax tells a fault of the parser, which knows no more than the line.
func (d *document) syntax(text []byte, err error) {
	message, line, column := strings.TrimPrefix(err.Error(), "yaml: "), 1, 1
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
		message = err.Error()[len(m[0]):]
		line, _ = strconv.Atoi(m[1]) // digits, and 0 if too many, which at puts right
	}
	if lines := bytes.Split(text, []byte("\n")); line >= 1 && line <= len(lines) {
		of := lines[line-1]
		column = len(of) - len(bytes.TrimLeft(of, " \t")) + 1
	}
	d.at(line, column, "", "this is no YAML: "+message)
}

// read returns the file as JSON values and finds members given twice.
func (d *document) read() any { return d.value(d.root, nil, nil) }

// value returns one value. Inside holds the nodes around it, since an alias may
// name one of them.
func (d *document) value(n *yaml.Node, path []string, inside []*yaml.Node) any {
	n = target(n)
	d.values++
	switch {
	case d.values == maxValues:
		d.fault(n, "", "the aliases of this file write out to more than can be a listing")
	case len(inside) > maxDepth:
		d.fault(n, "", "this is nested too deeply, or an alias is part of what it stands for")
	}
	if d.values >= maxValues || len(inside) > maxDepth {
		d.endless = true
		return nil
	}
	inside = append(slices.Clip(inside), n)
	if n.Kind == yaml.MappingNode {
		return d.members(n, path, inside)
	}
	if n.Kind == yaml.SequenceNode {
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = d.value(item, below(path, strconv.Itoa(i)), inside)
		}
		return list
	}
	if isPrice(path) && isWord(n) {
		return n.Value // never through a float
	}
	return scalar(n)
}

func (d *document) members(n *yaml.Node, path []string, inside []*yaml.Node) any {
	object, first := map[string]any{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := target(n.Content[i])
		if key.Kind != yaml.ScalarNode {
			d.fault(n.Content[i], written(path), "the name of a member has to be text")
			continue
		}
		inner := below(path, key.Value)
		if line, twice := first[key.Value]; twice {
			d.fault(n.Content[i], written(inner), fmt.Sprintf("given twice, first in line %d", line))
			continue
		}
		first[key.Value] = n.Content[i].Line
		object[key.Value] = d.value(n.Content[i+1], inner, inside)
	}
	return object
}

// scalar returns text, a whole number, true, false or nil. Of a fraction no
// more is kept than that it is none of these: only prices are fractions.
func scalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		var whole int64
		if err := n.Decode(&whole); err != nil {
			return huge
		}
		return whole
	case "!!float":
		if strings.Trim(n.Value, "0123456789") == "" {
			return huge // too long for an integer
		}
		return json.Number("0.5")
	}
	return n.Value
}

func isPrice(path []string) bool {
	return len(path) == 4 && path[0] == "offers" && path[2] == "prices"
}

// isWord reports whether n was written as text or as a number.
func isWord(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	tag := n.ShortTag()
	return tag == "!!str" || tag == "!!int" || tag == "!!float"
}

// target returns what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// below returns the path of something inside another, in storage of its own.
func below(path []string, step string) []string { return append(slices.Clip(path), step) }
