# SPDX-License-Identifier: GPL-2.0
# Draws what bench.py left in lookup.dat and create.dat, in the folder that gnuplot is run in: as
# bench.svg and bench.png. `unit` is that of a lookup's cost.
do for [term in "svg png"] {
	if (term eq "svg") { set terminal svg size 1000,420 font "sans,12" background "white" }
	else { set terminal pngcairo size 1000,420 font "sans,10" }
	set output "bench.".term
	set multiplot layout 1,2
	set grid y
	set key top left

	set title "A lookup, by the number of maps that the owner has values of"
	set xlabel "maps"
	set ylabel unit
	set logscale xy
	plot "lookup.dat" using 1:2 with linespoints lw 2 title "stock", \
	     "" using 1:3 with linespoints lw 2 title "ours"

	unset logscale
	set title "Creations, ours over stock"
	set xlabel ""
	set ylabel "%"
	set yrange [0:*]
	set style data histograms
	set style fill solid 0.6
	set xtics rotate by -20
	plot "create.dat" using 2:xtic(1) title "stock = 100", "" using 3 title "ours"
	unset multiplot
	reset
}
