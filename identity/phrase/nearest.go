package phrase

import (
	"cmp"
	"slices"
	"strings"
)

const (
	maxSuggestions  = 3
	maxTypedLetters = 12 // the longest word has 8; more is no slip of the finger
	minPrefix       = 3  // typed letters that may stand for the words they begin
)

// nearest returns the words of list that typed was most likely meant to be, the nearest first: up to maxSuggestions
// within an edit distance of 2 (1 for words of up to 4 letters), or that typed begins. None when none is near.
func nearest(typed string, list []string) []string {
	if len(typed) > maxTypedLetters {
		return nil
	}
	limit := 2
	if len(typed) <= 4 {
		limit = 1
	}
	type candidate struct {
		word     string
		distance int
	}
	var found []candidate
	for _, w := range list {
		d := editDistance(typed, w)
		if len(typed) >= minPrefix && strings.HasPrefix(w, typed) {
			d = min(d, 1)
		}
		if d <= limit {
			found = append(found, candidate{w, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.word, b.word))
	})
	words := make([]string, 0, maxSuggestions)
	for _, c := range found[:min(len(found), maxSuggestions)] {
		words = append(words, c.word)
	}
	return words
}

// editDistance is the optimal string alignment distance in bytes: insertions, deletions, substitutions, and swaps of
// two neighbours, each 1. (Damerau 1964, with the usual restriction that nothing is edited twice.)
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row[j+1] = d
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
