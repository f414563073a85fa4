# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Part of tools/kernel: kernels of another release of Debian, and for another
# machine. Their packages come through an apt of their own, in build/kernels/.apt,
# so that this machine's apt never hears of them.
# Knows how to get such kernels, nothing of how they are booted.

# Where this machine's apt gets Debian from: the other suites are there, too.
# shellcheck disable=SC2016  # apt's, not the shell's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sed -n 's|/debian/$|/debian|p' | sort -u | head -n 1)
readonly mirror

# What "backports" is built with, besides what its headers depend on. These
# name the compiler that the kernel was built with.
readonly builder_packages=(make gcc binutils)

# What the guest's root has where this machine's programs do not run: a shell, and
# what tools/vm-init and the suites call. The rest comes as dependencies.
readonly root_packages=(bash dash coreutils util-linux mount kmod grep sed mawk findutils
	diffutils hostname procps strace python3 busybox-static iproute2 base-passwd usr-is-merged)

# --- an apt of its own --------------------------------------------------------

apt_sources() { # SUITE
	local signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]' release=${1%-backports}
	echo "deb $signed $mirror $release main"
	echo "deb $signed $mirror-security $release-security main"
	[ "$1" = "$release" ] || echo "deb $signed $mirror $1 main"
}

# From here on, in this shell, apt means that of another suite or architecture.
use_apt() { # SUITE ARCHITECTURE
	local dir=$kernels/.apt/$1-$2
	mkdir -p "$dir"/{lists/partial,cache/archives/partial}
	: >"$dir/status"
	apt_sources "$1" >"$dir/sources.list"
	cat >"$dir/apt.conf" <<-END
		APT::Architecture "$2";
		APT::Architectures { "$2"; };
		$([[ $1 != *-backports ]] || echo "APT::Default-Release \"$1\";")
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State::Lists "$dir/lists";
		Dir::State::Status "$dir/status";
		Dir::Cache "$dir/cache";
	END
	export APT_CONFIG=$dir/apt.conf
	[ -z "$update" ] || refresh_lists
}

# --- the newest kernel in backports -------------------------------------------

# A root with the release's own compiler: a module is built with what built the
# kernel. 0.7 GB; made anew with the kernel, never changed in between.
make_builder() { # ROOT SUITE PACKAGE...
	local root=$1 suite=$2; shift 2
	tools/setup builder
	# Without the host's apt settings: debootstrap and the root have their own.
	env -u APT_CONFIG debootstrap --variant=minbase "${suite%-backports}" "$root" "$mirror" \
		>"$kernels/builder.log" 2>&1 ||
		{ tail -n 5 "$kernels/builder.log" >&2; die "debootstrap failed: see $kernels/builder.log"; }
	apt_sources "$suite" >"$root/etc/apt/sources.list"
	in_builder "$root" sh -c 'apt-get -qq update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -t "$@" &&
		apt-get clean && rm -rf /var/lib/apt/lists/*' sh "$suite" "$@" >>"$kernels/builder.log" 2>&1 ||
		{ tail -n 5 "$kernels/builder.log" >&2; die "the compiler did not install: see $kernels/builder.log"; }
}

# This tree and the kernels are seen in there under their own paths; objtool wants
# /proc. All of it is gone with the last process.
in_builder() { # ROOT COMMAND...
	local root=$1; shift
	mkdir -p "$root$top" "$root$kernels"
	# shellcheck disable=SC2016  # the inner shell's
	env -u APT_CONFIG TRIBUF_KERNELS="$kernels" LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		unshare --mount --propagation private sh -ec '
		root=$1 top=$2 kernels=$3; shift 3
		mount -t proc proc "$root/proc"
		mount --bind /dev "$root/dev"
		mount --bind "$top" "$root$top"
		mount --bind "$kernels" "$root$kernels"
		exec chroot "$root" sh -c '\''cd "$1" && shift && exec "$@"'\'' sh "$top" "$@"' \
		sh "$root" "$top" "$kernels" "$@"
}

make_backport() { # NAME DIR PACKAGE VERSION
	local dir=$2 suite release
	suite=$(field "$1" 4)
	release=$(depends "$3" '^linux-image-[0-9]' | head -n1)
	release=${release#linux-image-}
	[ "$(id -u)" = 0 ] || die "a root for the compiler of $suite can be made by root only"
	say "getting the compiler of $suite and the headers of Linux $release (2 to 4 minutes, 0.7 GB)"
	make_builder "$dir/builder" "$suite" "linux-headers-$release" "${builder_packages[@]}"
	ln -sfn "builder/usr/src/linux-headers-$release" "$dir/headers"
	say "downloading Linux $release"
	fetch "$dir" linux-{binary,modules,base}-"$release"
	mkdir -p "$dir/lib"
	mv "$dir/usr/lib/modules" "$dir/lib/"
	unpack_vmlinuz "$dir/lib/modules/$release/vmlinuz" "$dir/vmlinux"
	rm -rf "${dir:?}"/{boot,usr} "$dir"/lib/modules/*/{vmlinuz,System.map,build,source}
	depmod -b "$dir" "$release"
	make_initrd "$dir" "$release"
	echo "$release" >"$dir/release"
}

# --- another machine ----------------------------------------------------------

# Their programs, unpacked: nothing is configured, nothing of it ever runs here.
make_root() { # ROOT
	local root=$1 deb archives
	archives=$(dirname "$APT_CONFIG")/cache/archives
	apt-get -qq -y --no-install-recommends --download-only -o APT::Sandbox::User=root \
		install "${root_packages[@]}" >"$kernels/root.log" 2>&1 ||
		{ tail -n 5 "$kernels/root.log" >&2; die "cannot download the guest's programs"; }
	mkdir -p "$root"
	for deb in "$archives"/*.deb; do
		dpkg-deb -x "$deb" "$root"
	done
	rm -f "$archives"/*.deb
	# What the packages' scripts would have done, as far as it matters.
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	ln -sfn mawk "$root/usr/bin/awk"
}

# For programs linked with liburing, as this machine's own are.
make_sysroot() { # DIR
	fetch "$1/sysroot" liburing-dev
}

# The headers' own tools are programs of the other machine: this one's, of the same
# version, take their place.
native_kbuild() { # DIR PACKAGE
	rm -rf "$1/usr/lib/$2"
	(unset APT_CONFIG; fetch "$1" "$2")
}

# What is the same for all kernels of that machine.
make_machine() { # NAME DIR
	make_root "$2/root"
	make_sysroot "$2"
	echo "$(field "$1" 5) $(field "$1" 6)" >"$2/machine"
}

make_foreign() { # NAME DIR PACKAGE VERSION
	local dir=$2 release headers kbuild
	tools/setup "$(field "$1" 5)"
	release=$(depends "$3" '^linux-image-[0-9]' | head -n1)
	release=${release#linux-image-}
	headers=linux-headers-$release
	kbuild=$(depends "$headers" '^linux-kbuild-')
	say "downloading Linux $release with its headers, and programs for its machine (about 150 MB)"
	# shellcheck disable=SC2046  # one word per package
	fetch "$dir" "linux-image-$release" "$headers" $(depends "$headers" '^linux-headers-.*-common')
	make_machine "$1" "$dir"
	native_kbuild "$dir" "$kbuild"
	relocate_headers "$dir" "$release"
	mv "$dir/boot/vmlinuz-$release" "$dir/vmlinux"
	rm -rf "${dir:?}"/{boot,usr/share} "$dir"/lib/modules/*/{build,source}
	depmod -b "$dir" "$release"
	make_initrd "$dir" "$release" "$dir/root/bin/busybox"
	echo "$release" >"$dir/release"
}
