package config

import (
	"fmt"
	"slices"
	"strings"
)

// meant says which of the known words may be meant by one that is not known, or
// else which there are.
func meant(word string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	word = clip(word)
	best, least := "", max(1, min(3, len(word)/3))+1
	for _, k := range known {
		if n := distance(word, clip(k)); n < least {
			best, least = k, n
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; is %s meant?", best)
	case len(known) == 0:
		return ""
	}
	return "; known are " + strings.Join(known, ", ")
}

// distance is how many characters are put in, left out, replaced or swapped with
// their neighbour to make b of a (F. J. Damerau, 1964), each place touched once.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			replaced := rows[i-1][j-1]
			if x[i-1] != y[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
